"""The ConvNeXts of facebookresearch/dinov3."""
