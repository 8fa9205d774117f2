"""The ViT of facebookresearch/dinov3."""
