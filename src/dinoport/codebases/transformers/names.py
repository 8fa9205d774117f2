"""A ViT under the names of Transformers, in a file of any framework: what config.json would say is taken from shapes.

Names on disk are the same in versions 4 and 5. Version 5 has other names in memory, which is what Lightning, PEFT and
`torch.save(model.state_dict())` write (`conversion_mapping.py`).
"""

from collections.abc import Mapping
from typing import Any

from dinoport.codebases.codebase import Evidence
from dinoport.codebases.dino import vit as dino
from dinoport.codebases.dinov2 import vit as dinov2
from dinoport.codebases.names import Names
from dinoport.codebases.relatives import dino as relatives
from dinoport.codebases.shapes import count_blocks
from dinoport.codebases.transformers import dinov2 as of_dinov2
from dinoport.codebases.transformers import vit as of_vit
from dinoport.codebases.transformers.class_fields import SAME_ACTIVATION
from dinoport.codebases.transformers.in_memory import LAYERS, as_held
from dinoport.codebases.transformers.poolers import OWN_POOLER
from dinoport.codebases.transformers.signs import INNER, PATCHES, ROTARY_PATCHES
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.errors import SettingError
from dinoport.files.names import short_text
from dinoport.mapping.operations import DropClsRow
from dinoport.mapping.rule import Rule, change, copy, drop
from dinoport.model import Origin, Stated, Wishes
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.networks.rotary_vit.rope import MAX_THETA
from dinoport.networks.vit.architecture import ViT
from dinoport.request import MAX_HEADS
from dinoport.tensor import Shape, TensorRef

TABLE = "embeddings.position_embeddings.weight"
"""EoMT's: of patches alone, and without the leading axis."""

EOMT = "a part of EoMT; no class of a backbone has a place for it"

# fmt: off
BESIDE: tuple[Rule, ...] = (
    drop("pooler.dense.{p}",                     because=OWN_POOLER),
    drop("query.weight",                         because=EOMT),
    drop("attn_mask_probs",                      because=EOMT),
    drop("criterion.empty_weight",               because=EOMT),
    drop("class_predictor.{p}",                  because=EOMT),
    drop("mask_head.fc{n}.{p}",                  because=EOMT),
    drop("upscale_block.block.{k}.conv{n}.{p}",  because=EOMT),
    drop("upscale_block.block.{k}.layernorm2d.{p}", because=EOMT),
)
# fmt: on


def stated_in(config: Mapping[str, Any], tensors: Mapping[str, TensorRef]) -> dict[str, Stated]:
    """What a config, or a part of it, says of a backbone of its width.

    Raises SettingError where it says what no DINO with these weights computes.
    """
    patches = next((tensors[name] for name in (PATCHES, ROTARY_PATCHES) if name in tensors), None)
    depth = max(count_blocks(tensors, prefix) for prefix in (*LAYERS, "layer.", f"{INNER}layer."))
    parts = [config, *(part for part in config.values() if isinstance(part, Mapping))]
    alike = [part for part in parts if patches and part.get("hidden_size") == patches.shape[0]]
    own = next((part for part in alike if part.get("num_hidden_layers") in (None, depth)), alike[0] if alike else {})
    heads, eps, theta = (own.get(name) for name in ("num_attention_heads", "layer_norm_eps", "rope_theta"))
    gated = any(".mlp.gate_proj." in name for name in tensors)
    act = own.get("hidden_act")
    act = SAME_ACTIVATION.get(act, act) if isinstance(act, str) else act
    checks = {
        "hidden_act": (act in (None, "gelu", *(("silu",) if gated else ())), "gelu"),
        "num_hidden_layers": (
            own.get("num_hidden_layers") in (None, depth),
            f"{depth}, as many as there are weights for",
        ),
        "num_attention_heads": (heads is None or (type(heads) is int and 0 < heads <= MAX_HEADS), "a number of heads"),
        "layer_norm_eps": (eps is None or (isinstance(eps, float) and 0 < eps < 1), "a number between 0 and 1"),
    }
    for name, (fits, expected) in checks.items():
        if not fits:
            raise SettingError(
                "config.json says of this backbone what no DINO with these weights computes",
                where=f"config.json: {name}",
                expected=expected,
                found=short_text(str(own[name])),
                cause="a backbone of another kind under the same names, or a config that was changed",
                next_step="keep it in its own class",
            )
    found: dict[str, Stated] = {}
    if isinstance(theta, int | float) and type(theta) is not bool and 0 < theta < MAX_THETA:
        found["rope_theta"] = Stated(float(theta), "rope_theta in config.json")
    if heads is not None:
        found["num_heads"] = Stated(heads, "num_attention_heads in config.json")
    if eps is not None:
        found["layer_norm_eps"] = Stated(eps, "layer_norm_eps in config.json")
    return found


def _vit(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    pooled = "pooler.layernorm.weight" in shapes
    distilled = "embeddings.distillation_token" in shapes
    return _plain(of_vit.POOLED if pooled else of_vit.DEIT if distilled else of_vit.VIT, shapes)


def _plain(kind: of_vit.ViTClasses, shapes: Mapping[str, Shape]) -> tuple[Rule, ...]:
    return as_held((copy(ViT.positions, of_vit.POSITIONS), *kind.rules), shapes)


def _dinov2(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    depth = max(count_blocks(shapes, prefix) for prefix in LAYERS)
    gated = any(".mlp.gate_proj." in name for name in shapes)
    registers = shapes.get("embeddings.register_tokens")
    layer = next((prefix for prefix in LAYERS if f"{prefix}0.norm1.weight" in shapes), LAYERS[0])
    vit = ViT(
        width=(shapes.get(PATCHES) or (1,))[0],
        depth=min(depth, MAX_DEPTH),
        heads=1,
        mlp_hidden=1,
        patch_size=1,
        image_size=1,
        feed_forward="swiglu" if gated or f"{layer}0.mlp.weights_in.weight" in shapes else "mlp",
        registers=registers[1] if registers and len(registers) == 3 else 0,
        layer_scale=True,
        mask_token="embeddings.mask_token" in shapes,
        interpolation=TO_SIZE if registers is None else TO_SIZE_ANTIALIASED,
    )
    return as_held(of_dinov2.rules(vit, _positions(shapes)), shapes)


def _positions(shapes: Mapping[str, Shape]) -> Rule:
    if TABLE in shapes:
        return change(ViT.positions, TABLE, DropClsRow(flat=True))
    return copy(ViT.positions, of_dinov2.POSITIONS)


def _resampled(name: str, by: str) -> Stated:
    return Stated(name, f"as {by} of Transformers resamples", Origin.INFERRED)


MASKED = drop("embeddings.mask_token", because="the token of masked patches; it is used for training alone")

VIT_SAYS = {
    "layer_norm_eps": Stated(1e-12, "the default of ViTConfig; DINO's own is 1e-6", Origin.ASSUMED, doubted=True),
    "interpolation": _resampled("size", "ViTModel"),
}

VIT = Names(dino, _vit, stated=lambda evidence: VIT_SAYS, drops=(*BESIDE, MASKED))

IJEPA = Names(
    relatives.IJEPA,
    lambda shapes, wishes: _plain(of_vit.IJEPA, shapes),
    stated=lambda evidence: VIT_SAYS,
    drops=(*BESIDE, MASKED),
)


def _dinov2_says(evidence: Evidence) -> dict[str, Stated]:
    """With registers the class resamples with antialias."""
    registers = "register_tokens" in evidence.tensors
    name = "Dinov2WithRegistersModel" if registers else "Dinov2Model"
    return {
        "layer_norm_eps": Stated(1e-6, "the default of Dinov2Config", Origin.ASSUMED),
        "interpolation": _resampled("size-antialias" if registers else "size", name),
    }


DINOV2 = Names(dinov2, _dinov2, stated=_dinov2_says, drops=BESIDE)
