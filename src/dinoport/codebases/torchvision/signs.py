"""How the ViTs of torchvision are told by their names."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    return all(name in shapes for name in ("class_token", "conv_proj.weight", "encoder.pos_embedding"))
