"""How the models of facebookresearch/dino are told from others, by names alone."""

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINO ViT's and no later family's."""
    later = any(name in shapes for name in ("register_tokens", "rope_embed.periods"))
    later = later or len(shapes.get("mask_token", ())) == 2  # an MAE's has three axes, and is its decoder's
    later = later or any(name.endswith((".ls1.gamma", ".w12.weight", ".gamma1")) for name in shapes)
    return "cls_token" in shapes and any(name.endswith(".attn.qkv.weight") for name in shapes) and not later


def has_patches_alone(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are a plain ViT's names without a CLS token, and no others: I-JEPA's, and not SigLIP's."""
    table, patches = shapes.get("pos_embed", ()), shapes.get("patch_embed.proj.weight", ())
    plain = {name.partition(".")[0] for name in shapes} <= {"pos_embed", "patch_embed", "blocks", "norm", "n_averaged"}
    whole = "blocks.0.attn.qkv.weight" in shapes and "norm.weight" in shapes
    return plain and whole and len(table) == 3 and len(patches) == 4


def is_resnet(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a torchvision ResNet's with bottleneck blocks."""
    return "conv1.weight" in shapes and "layer1.0.conv3.weight" in shapes
