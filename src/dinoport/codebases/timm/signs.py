"""How timm's names are told from those of the originals."""

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_timm_config(config: Mapping[str, object]) -> bool:
    """Whether a config.json is timm's: it names a builder."""
    return isinstance(config.get("architecture"), str) and ("pretrained_cfg" in config or "model_args" in config)


def is_dinov2(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are names that timm alone gives a DINOv2: registers, or a joint gate under an MLP's names."""
    gated = is_gated(shapes) and any(name.endswith(".ls1.gamma") for name in shapes)
    return "pos_embed" in shapes and ("reg_token" in shapes or gated)


def is_of_tao(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are timm's names for a DINOv2 with the original's name of its registers, as NVIDIA's TAO trains."""
    return is_dinov2(shapes) and "register_tokens" in shapes


def is_gated(shapes: Mapping[str, Shape]) -> bool:
    """Whether the first linear layer gives twice what the second takes: a gate and a value."""
    first, second = (shapes.get(f"blocks.0.mlp.fc{n}.weight", ()) for n in (1, 2))
    return len(first) == len(second) == 2 and first[0] == 2 * second[1]


def is_dinov3_vit(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are timm's names for a DINOv3 ViT: no table of positions, and registers beside layer scales, or
    biases for queries and values alone. Without either a RoPE-ViT, or a ViT without positions, has these names too.
    """
    usual = {"blocks.0.gamma_1", "reg_token"} <= shapes.keys()
    return "pos_embed" not in shapes and (usual or _rotates(shapes))


def _rotates(shapes: Mapping[str, Shape]) -> bool:
    """One without layer scales, or without registers; a BEiT has no norm of all tokens, others have other scales."""
    whole = {"cls_token", "norm.weight", "blocks.0.attn.qkv.weight", "blocks.0.attn.q_bias"} <= shapes.keys()
    return whole and not {"blocks.0.ls1.gamma", "lm_head.weight"} & shapes.keys()


def is_convnext(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are timm's names for a ConvNeXt without a classifier."""
    return "stem.0.weight" in shapes and "stages.0.blocks.0.conv_dw.weight" in shapes and "head.norm.weight" in shapes
