"""How many attention heads a network was trained with, read from its weights."""
