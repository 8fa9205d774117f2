"""Others whose models have the names of a network that is known, by whose names these are."""
