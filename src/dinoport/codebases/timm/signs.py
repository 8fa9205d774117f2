"""How timm's names are told from those of the originals."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_timm_config(config: Mapping[str, object]) -> bool:
    """Whether a config.json is timm's: it names a builder."""
    return isinstance(config.get("architecture"), str) and ("pretrained_cfg" in config or "model_args" in config)


def is_dinov2(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are names that timm alone gives a DINOv2: registers, or a joint gate under an MLP's names."""
    gated = is_gated(shapes) and any(name.endswith(".ls1.gamma") for name in shapes)
    return "pos_embed" in shapes and ("reg_token" in shapes or gated)


def is_gated(shapes: Mapping[str, Shape]) -> bool:
    """Whether the first linear layer gives twice what the second takes: a gate and a value."""
    first, second = (shapes.get(f"blocks.0.mlp.fc{n}.weight", ()) for n in (1, 2))
    return len(first) == len(second) == 2 and first[0] == 2 * second[1]


def is_dinov3_vit(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are timm's names for a DINOv3 ViT: layer scales as in EVA, registers, no table of positions."""
    return "blocks.0.gamma_1" in shapes and "reg_token" in shapes and "pos_embed" not in shapes


def is_convnext(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are timm's names for a ConvNeXt without a classifier."""
    return "stem.0.weight" in shapes and "stages.0.blocks.0.conv_dw.weight" in shapes and "head.norm.weight" in shapes
