"""facebookresearch/dino."""
