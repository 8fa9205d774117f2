"""Each of the verbs, from top to bottom as what happens."""
