"""Texts of others, as people may be shown them."""
