"""How the ViTs of MMPretrain are told by their names."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_dinov2(shapes: Mapping[str, Shape]) -> bool:
    return _is_vit(shapes) and "layers.0.attn.gamma1.weight" in shapes


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    return _is_vit(shapes) and not is_dinov2(shapes)


def _is_vit(shapes: Mapping[str, Shape]) -> bool:
    return all(name in shapes for name in ("cls_token", "patch_embed.projection.weight", "layers.0.ln1.weight"))
