"""Training of X2Face: pairs of pictures of the same person, the error of the picture, nothing annotated."""
