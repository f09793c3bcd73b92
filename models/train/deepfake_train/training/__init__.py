"""What all training here shares: the loop with its run folder, the averaged weights, the plots."""
