"""What a checkpoint becomes."""
