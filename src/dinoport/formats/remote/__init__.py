"""Checkpoints at an address."""
