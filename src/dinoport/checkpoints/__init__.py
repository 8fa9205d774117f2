"""Readers of checkpoint files. Nothing that a file contains is run, and nothing is loaded before it is asked for."""
