"""The Vision Transformers of facebookresearch/dinov3."""
