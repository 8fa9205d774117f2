"""timm's builders: what each builds when nothing is asked for, so that `model_args` need say no more than the rest.

Sources: `timm/models/{vision_transformer,eva,convnext,resnet}.py`. What a builder sets in Python alone, its norm and
the kind of its feed-forward layer, no config.json can change: it decides which builder is taken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CLASS_DEFAULTS: Mapping[str, object] = {
    "in_chans": 3,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "proj_bias": True,
    "init_values": None,
    "reg_tokens": 0,
    "num_reg_tokens": 0,
    "swiglu_mlp": False,
    "attn_type": "eva",
    "norm_eps": None,
    "ls_init_value": 1e-6,
    "pre_norm": False,
    "class_token": True,
    "ref_feat_shape": None,
}
"""What a class takes where neither its builder nor `model_args` say otherwise."""

SIZES = ("embed_dim", "depth", "num_heads", "patch_size", "swiglu_mlp", "qkv_bias", "depths", "dims")
"""By these a builder is of a published size: no other asks for less."""


@dataclass(frozen=True)
class TimmBuilder:
    """A function of timm's by its name. `eps` is its LayerNorm's."""

    name: str
    eps: float
    arguments: Mapping[str, object] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        return self.arguments.get(name, CLASS_DEFAULTS.get(name))

    def differing(self, wanted: Mapping[str, Any]) -> dict[str, object]:
        """What `model_args` has to say for the builder to build what is wanted."""
        return {name: value for name, value in wanted.items() if not self._gives(name, value, wanted)}

    def fits(self, wanted: Mapping[str, Any]) -> bool:
        """Whether it is of the wanted size."""
        return all(self._gives(name, wanted[name], wanted) for name in (*SIZES, "mlp_ratio") if name in wanted)

    def _gives(self, name: str, value: Any, wanted: Mapping[str, Any]) -> bool:
        own, width = self.value(name), wanted.get("embed_dim")
        if name == "mlp_ratio" and isinstance(width, int):  # what counts are the hidden features
            return int(width * float(own)) == int(width * float(value))
        if name == "swiglu_align_to" and own and value:  # a larger multiple does where it divides the features too
            return int(own) >= int(value) and int(width * wanted["mlp_ratio"]) % int(own) == 0
        return own == value and (name in self.arguments or name in CLASS_DEFAULTS)


def chosen(builders: Iterable[TimmBuilder], wanted: Mapping[str, Any], otherwise: TimmBuilder) -> TimmBuilder:
    """The builder of the wanted size, which timm's own folders name; else the one that takes every size."""
    return next((builder for builder in builders if builder.fits(wanted)), otherwise)


def mlp_ratio(hidden: int, width: int) -> float:
    """The ratio of which timm, which rounds down, makes these hidden features."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _vit(name: str, width: int, depth: int, heads: int, patch: int, **others: object) -> TimmBuilder:
    sizes = {"patch_size": patch, "embed_dim": width, "depth": depth, "num_heads": heads}
    return TimmBuilder(name, 1e-6, {**sizes, **others})


PLAIN = (
    _vit("vit_small_patch16_224", 384, 12, 6, 16),
    _vit("vit_small_patch8_224", 384, 12, 6, 8),
    _vit("vit_base_patch16_224", 768, 12, 12, 16),
    _vit("vit_base_patch8_224", 768, 12, 12, 8),
)

CLIP = TimmBuilder("vit_base_patch16_clip_224", 1e-5, {**PLAIN[2].arguments, "pre_norm": True})
"""The builder of a ViT whose LayerNorm has eps 1e-5."""

SIZES_OF_DINOV2 = (("small", 384, 12, 6), ("base", 768, 12, 12), ("large", 1024, 24, 16))

DINOV2 = tuple(
    _vit(f"vit_{name}_patch14_dinov2", width, depth, heads, 14, init_values=1e-5)
    for name, width, depth, heads in SIZES_OF_DINOV2
)

GATED = _vit("vit_giant_patch14_dinov2", 1536, 40, 24, 14, init_values=1e-5, mlp_ratio=2.66667 * 2)


def _with_registers(builder: TimmBuilder) -> TimmBuilder:
    name = builder.name.replace("_dinov2", "_reg4_dinov2")
    return TimmBuilder(name, builder.eps, {**builder.arguments, "reg_tokens": 4, "no_embed_class": True})


WITH_REGISTERS = tuple(map(_with_registers, DINOV2))
GATED_WITH_REGISTERS = _with_registers(GATED)


def _dinov3(name: str, width: int, depth: int, heads: int, align_to: int = 0, **others: object) -> TimmBuilder:
    sizes = {"patch_size": 16, "embed_dim": width, "depth": depth, "num_heads": heads, "qkv_bias": True}
    gate = {"swiglu_mlp": align_to > 0, "swiglu_align_to": align_to}
    return TimmBuilder(name, 1e-5, {**sizes, **OF_DINOV3, **gate, **others})


ROTATION: Mapping[str, object] = {"rope_type": "dinov3", "rope_rotate_half": True, "use_rot_pos_emb": True}
"""How a DINOv3 rotates queries and keys."""

ROTARY: Mapping[str, object] = {
    **ROTATION,
    "use_abs_pos_emb": False,
    "use_fc_norm": False,
    "dynamic_img_size": True,
}
OF_DINOV3: Mapping[str, object] = {
    **ROTARY,
    "rope_temperature": 100.0,
    "init_values": 1e-5,
    "num_reg_tokens": 4,
}

DINOV3 = (
    _dinov3("vit_small_patch16_dinov3_qkvb", 384, 12, 6),
    _dinov3("vit_small_plus_patch16_dinov3_qkvb", 384, 12, 6, 8),
    _dinov3("vit_base_patch16_dinov3_qkvb", 768, 12, 12),
    _dinov3("vit_large_patch16_dinov3_qkvb", 1024, 24, 16),
    _dinov3("vit_huge_plus_patch16_dinov3_qkvb", 1280, 32, 20, 8),
    _dinov3("vit_7b_patch16_dinov3", 4096, 40, 32, 64, qkv_bias=False, mlp_ratio=2.0),
)
"""Without `_qkvb` in its name the builder has no biases of queries and values: the 7B alone is published so."""

EVA02 = TimmBuilder(
    "eva02_tiny_patch14_224",
    1e-6,
    {
        "patch_size": 14,
        "embed_dim": 192,
        "depth": 12,
        "num_heads": 3,
        "mlp_ratio": 4 * 2 / 3,
        "swiglu_mlp": True,
        "swiglu_align_to": 0,
        "use_rot_pos_emb": True,
        "ref_feat_shape": (16, 16),
    },
)
"""The builder of timm's with a rotary ViT whose LayerNorm has eps 1e-6: everything else can be asked of it."""


def _convnext(name: str, depths: list[int], first: int) -> TimmBuilder:
    return TimmBuilder(name, 1e-6, {"depths": depths, "dims": [first, 2 * first, 4 * first, 8 * first]})


CONVNEXT = (
    _convnext("convnext_tiny", [3, 3, 9, 3], 96),
    _convnext("convnext_small", [3, 3, 27, 3], 96),
    _convnext("convnext_base", [3, 3, 27, 3], 128),
    _convnext("convnext_large", [3, 3, 27, 3], 192),
    _convnext("convnext_xlarge", [3, 3, 27, 3], 256),
)

RESNET = TimmBuilder("resnet50", 1e-5, {"layers": [3, 4, 6, 3]})

BUILDERS = {
    builder.name: builder
    for builder in (
        *PLAIN,
        CLIP,
        *DINOV2,
        GATED,
        *WITH_REGISTERS,
        GATED_WITH_REGISTERS,
        *DINOV3,
        EVA02,
        *CONVNEXT,
        RESNET,
    )
}
