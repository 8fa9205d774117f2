"""The classic script, by its own options."""
