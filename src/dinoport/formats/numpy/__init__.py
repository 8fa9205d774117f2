"""NumPy's files of arrays by name."""
