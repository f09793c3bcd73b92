"""Training of First Order Motion Models: pairs of pictures, losses, the step."""
