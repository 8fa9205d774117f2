"""What is computed: sizes, canonical names and shapes, the forward pass."""
