"""The ViT of facebookresearch/dino."""
