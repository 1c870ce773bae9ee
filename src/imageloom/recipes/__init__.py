"""Ways to train a classifier."""
