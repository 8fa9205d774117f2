"""facebookresearch/dinov3."""
