"""Graphs that others exported (ONNX): read as data, and evaluated in float64 for the proofs. Nothing in them is run."""
