"""Checkpoints as they lie on disk: each format is read and written in one room."""
