"""How the models of facebookresearch/dinov2 are told from others, by names alone."""

from collections.abc import Mapping

from dinoport.tensor import Shape

OWN_PARTS = {"mask_token": 2, "register_tokens": 3}
OWN_ENDINGS = (".ls1.gamma", ".mlp.w12.weight")
"""Names by which a DINOv2 is told from a DINO, parts with the number of their axes: not all of them are in each."""


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINOv2's: a ViT with a position table and a part that DINO does not have."""
    own = any(len(shapes.get(part, ())) == axes for part, axes in OWN_PARTS.items()) or any(
        name.endswith(OWN_ENDINGS) for name in shapes
    )
    has_attention = any(name.endswith(".attn.qkv.weight") for name in shapes)
    return own and has_attention and "pos_embed" in shapes and "rope_embed.periods" not in shapes
