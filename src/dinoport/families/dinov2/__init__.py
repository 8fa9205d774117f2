"""The Vision Transformers of facebookresearch/dinov2."""
