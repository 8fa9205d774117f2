"""Others whose models have the names of a network that is known: one file each."""
