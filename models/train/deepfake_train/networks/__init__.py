"""Networks that are trained here and nowhere else, each beside the graph that is written of it."""
