"""Training, conversion and evaluation of the networks that the GStreamer elements run."""
