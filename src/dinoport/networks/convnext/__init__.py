"""The ConvNeXt of facebookresearch/dinov3."""
