"""The proofs of a graph that others exported: tensors by content, outputs in float64, its runtime."""
