"""The Vision Transformers of facebookresearch/dino."""
