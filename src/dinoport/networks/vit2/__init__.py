"""The ViT of facebookresearch/dinov2."""
