"""How the models of facebookresearch/dinov3 are told from others, by names alone."""

from collections.abc import Mapping

from dinoport.tensor import Shape

PERIODS = "rope_embed.periods"


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINOv3 ViT's: no other has rotary periods in its state dict."""
    return PERIODS in shapes and any(name.endswith(".attn.qkv.weight") for name in shapes)


def is_convnext(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINOv3 ConvNeXt's; `norms.3` tells it from the ConvNeXts of other codebases."""
    return "downsample_layers.0.0.weight" in shapes and "norms.3.weight" in shapes
