"""The ResNet-50 of facebookresearch/dino."""
