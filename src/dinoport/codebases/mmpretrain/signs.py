"""How the ViTs of MMPretrain are told by their names."""

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_dinov2(shapes: Mapping[str, Shape]) -> bool:
    return _is_vit(shapes) and "layers.0.attn.gamma1.weight" in shapes


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    return _is_vit(shapes) and not is_dinov2(shapes) and not is_segmenter(shapes)


def is_segmenter(shapes: Mapping[str, Shape]) -> bool:
    """MMSegmentation's own ViT, whose attention is torch's."""
    return _is_vit(shapes) and "layers.0.attn.attn.in_proj_weight" in shapes


def _is_vit(shapes: Mapping[str, Shape]) -> bool:
    return all(name in shapes for name in ("cls_token", "patch_embed.projection.weight", "layers.0.ln1.weight"))
