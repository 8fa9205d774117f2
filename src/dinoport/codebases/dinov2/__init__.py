"""facebookresearch/dinov2."""
