"""Videos and pictures of people to what training reads."""
