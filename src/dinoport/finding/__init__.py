"""From an open checkpoint to the models in it."""
