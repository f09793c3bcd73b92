"""What the models are judged by. Nothing in here trains, and nothing is to be tuned on what it reads."""
