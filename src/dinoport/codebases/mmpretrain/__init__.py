"""MMPretrain's names."""
