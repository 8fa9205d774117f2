"""The proofs of a graph that others exported: its tensors by content, its outputs in float64, its runtime in float32."""
