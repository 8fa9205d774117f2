"""Read a DINOv3 ViT's sizes and options. Its heads and its rotary base are in `rope_embed.periods`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from dinoport.codebases.builder import believe, checked_heads
from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Evidence, HubEntry, Reading
from dinoport.codebases.dinov3.projection import made_before as made_before
from dinoport.codebases.dinov3.refusals import measured, refuse_what_no_class_computes
from dinoport.codebases.dinov3.signs import PERIODS
from dinoport.codebases.drops import OF_DINOV3
from dinoport.codebases.heads import Weighed, head_reader, weighed
from dinoport.codebases.run import Read, contradictions, input_size, number, said, text
from dinoport.codebases.shapes import required
from dinoport.codebases.vit_sizes import ViTSizes, read_sizes
from dinoport.errors import SettingError, UnknownModelError
from dinoport.mapping.claims import Problem, compare_shapes
from dinoport.mapping.constants import ones, zeros
from dinoport.mapping.rule import Rule, make
from dinoport.model import Family, Origin, Setting, eps_setting, fixed
from dinoport.networks.network import Classifier, Features
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, Preprocessing
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.rotary_vit.rope import Rope, find_base, rounds_to
from dinoport.shown.text import as_word
from dinoport.tensor import Shape, shape_text

BUILDERS = {
    "vit_small": (384, 6),
    "vit_base": (768, 12),
    "vit_large": (1024, 16),
    "vit_so400m": (1152, 18),
    "vit_huge2": (1280, 20),
    "vit_giant2": (1536, 24),
    "vit_7b": (4096, 32),
}
"""Width and heads of the builders in `dinov3/models/vision_transformer.py`, by a config's `student.arch`."""

ROPE_BASE = "student.pos_embed_rope_base"

EPS = {"layernorm": 1e-6, "layernormbf16": 1e-5}
"""By a config's `student.norm_layer`."""

FIXED = {"rope dtype": "float32", "qk scale": "head_dim ** -0.5"}
"""What `vision_transformer.py` and `attention.py` compute with, and no tensor shows. Training runs RoPE in bfloat16."""

SIGNS = Signs(files=("dinov3_",))

BESIDE = ("dino_head.", "ibot_head.", "local_cls_norm.")
"""What training keeps beside a backbone, and the norm of its local crops: relatives are published without these."""

RELEASED_REGISTERS = 4
"""Of every released model. Upstream's default config trains without any, and with the other eps."""


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINOv3 ViT.

    Raises PlanError where sizes cannot be read, UnknownModelError for options that no class of Transformers computes,
    SettingError where the user's word contradicts the tensors.
    """
    shapes = evidence.shapes
    sizes = read_sizes(shapes, evidence.where, table=False)
    refuse_what_no_class_computes(evidence, shapes)
    rope = _rope(evidence)
    held = _weighed(evidence, sizes, _heads(evidence, sizes))
    heads = held.setting
    swiglu = "blocks.0.mlp.w1.weight" in shapes
    mlp = f"blocks.0.mlp.{'w1' if swiglu else 'fc1'}.weight"
    registers = required(shapes, "storage_tokens", 3, evidence.where)[1] if "storage_tokens" in shapes else 0
    qkv_bias = "blocks.0.attn.qkv.bias" in shapes
    mask, mask_problems = _key_mask(evidence, sizes.depth)
    belief = believe(said(evidence), BUILDERS, sizes.width, sizes.patch_size)
    eps = _eps(evidence, registers, mask == "keys" or not qkv_bias)
    size = input_size(evidence)
    preprocessing, statistics = _preprocessing(evidence, sizes, shapes, size)
    architecture = RotaryViT(
        width=sizes.width,
        depth=sizes.depth,
        heads=heads.value,
        mlp_hidden=required(shapes, mlp, 2, evidence.where)[0],
        patch_size=sizes.patch_size,
        channels=sizes.channels,
        feed_forward="swiglu" if swiglu else "mlp",
        registers=registers,
        layer_scale="blocks.0.ls1.gamma" in shapes,
        qkv_bias=qkv_bias,
        key_bias_mask=mask != "none",
        live_key_bias=mask == "open",
        proj_bias="blocks.0.attn.proj.bias" in shapes,
        ffn_bias=mlp.replace(".weight", ".bias") in shapes,
        local_cls_norm="local_cls_norm.weight" in shapes,
        layer_norm_eps=eps.value,
        rope_theta=rope.theta,
        rope_rounded=rope.rounded,
        image_size=preprocessing.size,
        classifier=_classifier(evidence, sizes.width),
    )
    settings: tuple[Setting[object], ...] = (
        heads,
        *sizes.settings(architecture.mlp_hidden, mlp),
        Setting("registers", registers, Origin.STORED, "storage_tokens" if registers else "no storage_tokens"),
        _base(evidence, rope),
        _coordinates(evidence),
        *fixed(FIXED, Origin.ASSUMED, "as in all released DINOv3 ViTs"),
        eps,
        Setting("activation", "silu gate" if swiglu else "exact gelu", *_activation(swiglu)),
        statistics,
        *((size,) if size else ()),
    )
    problems = (*mask_problems, *compare_shapes(shapes, architecture.tensors()))
    doubts, remarks = (
        belief.remarks + contradictions(evidence, _as_in_config(evidence, architecture)),
        _eps_remarks(evidence),
    )
    return Reading(architecture, settings, problems, remarks, preprocessing, held.reading, held.warnings, doubts)


def _as_in_config(evidence: Evidence, architecture: RotaryViT) -> dict[str, Read]:
    """What the tensors show of the settings in a run's config (`dinov3/configs/ssl_default_config.yaml`)."""
    mlp = architecture.feed_forward == "mlp"
    shown: dict[str, Read] = {
        "student.patch_size": architecture.patch_size,
        "student.ffn_layer": ("mlp",) if mlp else ("swiglu", "swiglu32", "swiglu64", "swiglu128"),
        "student.qkv_bias": architecture.qkv_bias,
        "student.proj_bias": architecture.proj_bias,
        "student.ffn_bias": architecture.ffn_bias,
        "student.norm_layer": tuple(EPS),
        "student.n_storage_tokens": architecture.registers,
        "student.untie_cls_and_patch_norms": False,
        "student.untie_global_and_local_cls_norm": architecture.local_cls_norm,
        "student.in_chans": architecture.channels,
    }
    if architecture.qkv_bias:
        shown["student.mask_k_bias"] = architecture.key_bias_mask
    if PERIODS not in evidence.declared and evidence.tensors[PERIODS].size > 1:
        shown[ROPE_BASE] = architecture.rope_theta
    return shown


def _rope(evidence: Evidence) -> Rope:
    tensor = evidence.tensors[PERIODS]
    values = tensor.read().reshape(-1)
    found = find_base(values) if tensor.is_float and values.size else None
    base = evidence.wishes.rope_theta or number(evidence, ROPE_BASE)
    if found is not None and found.rounded and base is not None and rounds_to(base, values):
        return Rope(float(base), rounded=True)
    if found is not None:
        return found
    shown = ", ".join(f"{float(value):.4g}" for value in values[:4])
    error = f"outputs would be off {measured(0.8)}"
    cause = f"a model trained with min_period and max_period; if it were left out, {error}"
    next_step = "keep this model in its own code"
    if not values.any():
        cause = "a file without its values: saved under torch.serialization.skip_data, or a copy that was not filled"
        next_step = "fetch the file again"
    elif values.dtype == np.float16:
        cause = "a model that was cast to float16, the periods too, which then follow no base any more"
        next_step = "give the weights as they were before the cast; `dtype='float16'` rounds them here"
    raise UnknownModelError(
        f"no base gives the rotary periods of {evidence.where}, and Transformers stores a base alone",
        where=PERIODS,
        expected="base ** (2k / (head dimension / 2)) for one base",
        found=f"{shown}{' …' if values.size > 4 else ''}",
        cause=cause,
        next_step=next_step,
    )


def _base(evidence: Evidence, rope: Rope) -> Setting[float]:
    wishes = evidence.wishes
    if "rope_theta" in wishes.stated and wishes.rope_theta == rope.theta:
        return Setting("rope base", rope.theta, wishes.origin("rope_theta"), wishes.reason("rope_theta"))
    if PERIODS in evidence.declared:
        return Setting("rope base", rope.theta, Origin.ASSUMED, "as in all released DINOv3 ViTs")
    if evidence.wishes.rope_theta == rope.theta:
        return Setting("rope base", rope.theta, Origin.INFERRED, f"rope_theta in {evidence.wishes.said_by}")
    if not rope.rounded:
        return Setting("rope base", rope.theta, Origin.STORED, PERIODS)
    if evidence.config is not None and number(evidence, ROPE_BASE) == rope.theta:
        return Setting("rope base", rope.theta, Origin.INFERRED, f"{evidence.config.name}; {PERIODS} are rounded")
    reason = f"the shortest number whose powers bfloat16 rounds to {PERIODS}"
    return Setting("rope base", rope.theta, Origin.INFERRED, reason)


def _heads(evidence: Evidence, sizes: ViTSizes) -> Setting[int]:
    """As many as the width holds of four times the periods: each axis rotates half a head, in pairs."""
    periods = evidence.tensors[PERIODS].size
    given = evidence.wishes.num_heads
    if sizes.width % (4 * periods):
        raise SettingError(
            f"the rotary periods of {evidence.where} do not fit its width",
            where=PERIODS,
            expected=f"a quarter of a head's width, and heads that fill {sizes.width}",
            found=f"{periods} periods",
            next_step=f"dinoport inspect {as_word(evidence.where)}",
        )
    heads = sizes.width // (4 * periods)
    if given is not None and checked_heads(evidence.where, evidence.wishes, sizes.width, given) != heads:
        raise SettingError(
            f"{evidence.wishes.speaker('num_heads')} {given} contradicts the tensors of {evidence.where}",
            where=PERIODS,
            expected=f"{heads} heads: width {sizes.width} / (4 × {periods} periods)",
            found=str(given),
            next_step="leave `num_heads` out: DINOv3 stores the number of heads",
        )
    if PERIODS in evidence.declared:
        if given:
            return Setting("heads", heads, evidence.wishes.origin("num_heads"), evidence.wishes.reason("num_heads"))
        return Setting("heads", heads, Origin.ASSUMED, f"width / {sizes.width // heads}")
    return Setting("heads", heads, Origin.STORED, f"{periods} periods in {PERIODS}")


def _weighed(evidence: Evidence, sizes: ViTSizes, heads: Setting[int]) -> Weighed:
    if not evidence.weigh_heads:
        return Weighed(heads)
    return weighed(evidence.where, heads, head_reader(evidence.tensors, sizes.width)())


def _eps(evidence: Evidence, registers: int, like_released: bool) -> Setting[float]:
    """The config's norm layer; else that of the models that have the same parts: released, or trained by default."""
    own = EPS.get(text(evidence, "student.norm_layer") or "")
    if own is not None and evidence.config is not None:
        return eps_setting(evidence.wishes, own, Origin.INFERRED, f"student.norm_layer in {evidence.config.name}")
    if registers == RELEASED_REGISTERS and like_released:
        return eps_setting(evidence.wishes, 1e-5, Origin.ASSUMED, "as in all released DINOv3 ViTs")
    reason = "as in DINOv3's default training config; released models have 4 registers and no key bias"
    return eps_setting(evidence.wishes, 1e-6, Origin.ASSUMED, reason)


def _eps_remarks(evidence: Evidence) -> tuple[str, ...]:
    """That what was said of eps is followed, where it contradicts the config's norm layer."""
    layer, given = text(evidence, "student.norm_layer") or "", evidence.wishes.layer_norm_eps
    if evidence.config is None or given is None or EPS.get(layer, given) == given:
        return ()
    speaker = evidence.wishes.speaker("layer_norm_eps")
    says = f"{evidence.config.name} says student.norm_layer = {layer}, whose eps is {EPS[layer]:g}"
    return (f"{says}; {speaker} says {given:g}, and is followed",)


def _coordinates(evidence: Evidence) -> Setting[str]:
    name = "rope coordinates"
    if evidence.config is not None and text(evidence, "student.pos_embed_rope_normalize_coords") == "separate":
        return Setting(name, "separate", Origin.INFERRED, evidence.config.name)
    return Setting(name, "separate", Origin.ASSUMED, "as in all released DINOv3 ViTs; no matter for square pictures")


def _activation(swiglu: bool) -> tuple[Origin, str]:
    if swiglu:
        return Origin.STORED, "a gate, mlp.w1"
    return Origin.ASSUMED, "as in all DINOv3 ViTs"


def _key_mask(evidence: Evidence, depth: int) -> tuple[Literal["none", "keys", "open"], list[Problem]]:
    """What `bias_mask` lets through, in all blocks alike: not the keys' third, or everything."""
    kinds: dict[str, list[str]] = {}
    for index in range(depth):
        name = f"blocks.{index}.attn.qkv.bias_mask"
        tensor = evidence.tensors.get(name)
        if tensor is None:
            kinds.setdefault("none", []).append(name)
            continue
        thirds = tensor.read().astype(np.float64).reshape(-1)
        keys = np.zeros(thirds.size // 3)
        masked = np.concatenate([keys + 1, keys, keys + 1])
        kind = "keys" if np.array_equal(thirds, masked) else "open" if (thirds == 1).all() else "other"
        kinds.setdefault(kind, []).append(name)
    problems = [Problem(name, "masks something else than the keys") for name in kinds.pop("other", [])]
    if len(kinds) > 1:
        problems += [Problem(name, "differs from the other blocks") for name in min(kinds.values(), key=len)]
    kind = max(kinds, key=lambda found: len(kinds[found]), default="none")
    return ("keys" if kind == "keys" else "open" if kind == "open" else "none"), problems


def _preprocessing(
    evidence: Evidence, sizes: ViTSizes, shapes: Mapping[str, Shape], size: Setting[int] | None
) -> tuple[Preprocessing, Setting[str]]:
    """Satellite models have statistics of their own. The ViT-L is told by its parts, the 7B by its published name."""
    file_name = Path(evidence.where).name
    if evidence.facts is not None and evidence.facts.preprocessing is not None:
        own, reason = evidence.facts.preprocessing, evidence.facts.preprocessing.reason
    elif "local_cls_norm.weight" in shapes and sizes.width == BUILDERS["vit_large"][0]:
        own, reason = DINOV3_SAT, "local_cls_norm: the published ViT-L that has it is the satellite one"
    elif "sat493m" in file_name:
        own, reason = DINOV3_SAT, "the file's name"
    else:
        own, reason = DINOV3_PROCESSOR, "as in the official image processors"
    name = "satellite" if own is DINOV3_SAT else "ImageNet"
    if evidence.preprocessing and size is None:
        own = replace(own, resize=evidence.preprocessing.size)
    return own.for_image_size(size.value if size else own.size), Setting(
        "pixel statistics", name, Origin.INFERRED, reason
    )


def _classifier(evidence: Evidence, width: int) -> Classifier | None:
    """A linear head, if there is one. Raises UnknownModelError for one whose features are not known."""
    shape = evidence.shape("classifier.weight")
    if shape is None:
        return None
    features = {width: Features.CLS, 2 * width: Features.CLS_MEAN}.get(shape[1]) if len(shape) == 2 else None
    if features is None:
        raise UnknownModelError(
            f"{evidence.where} cannot be converted with this linear head: what it looks at is not known",
            where=f"{evidence.classifier}.weight",
            expected=f"{width} columns (the CLS token) or {2 * width} (CLS token, then patch mean)",
            found=f"shape {shape_text(shape)}",
            next_step="leave `head` out",
        )
    return Classifier(features, shape[0])


BACKBONES = {
    "dinov3_vits16": (384, 12, 6, 1536, "mlp", True),
    "dinov3_vits16plus": (384, 12, 6, 1536, "swiglu", True),
    "dinov3_vitb16": (768, 12, 12, 3072, "mlp", True),
    "dinov3_vitl16": (1024, 24, 16, 4096, "mlp", True),
    "dinov3_vitl16plus": (1024, 24, 16, 4096, "swiglu", True),
    "dinov3_vith16plus": (1280, 32, 20, 5120, "swiglu", True),
    "dinov3_vit7b16": (4096, 40, 32, 8192, "swiglu", False),
}
"""Width, depth, heads, MLP width and kind, biases of queries, keys and values: from `dinov3/hub/backbones.py`."""


def hub_entry(architecture: RotaryViT, image_size: int) -> HubEntry | None:
    """The entry of DINOv3's hubconf.py that builds this model; None where none does."""
    for name, (width, depth, heads, hidden, feed_forward, bias) in BACKBONES.items():
        usual = RotaryViT(
            width=width,
            depth=depth,
            heads=heads,
            mlp_hidden=hidden,
            patch_size=16,
            feed_forward="swiglu" if feed_forward == "swiglu" else "mlp",
            registers=RELEASED_REGISTERS,
            qkv_bias=bias,
            key_bias_mask=bias,
            local_cls_norm=architecture.local_cls_norm,
            rope_rounded=architecture.rope_rounded,
            image_size=architecture.image_size,
            classifier=architecture.classifier,
        )
        if architecture == usual:
            return HubEntry("facebookresearch/dinov3", name)
    return None


NORM_OF_LOCAL_CROPS = "local_cls_norm"
"""What training norms the CLS tokens of local crops with. A folder of Transformers has no place for it."""

WITH_THE_NORM = "dinov3_vit7b16"
"""The one entry of the hubconf.py that wants this norm in whatever file it is given, and loads strictly."""


def hub_file(architecture: RotaryViT) -> str | None:
    """The entry of DINOv3's hubconf.py that takes a file of this model as its `weights`.

    It loads strictly, after torch.hub has copied the file into its cache, by name: two files of one name are one to it.
    """
    entry = hub_entry(architecture, architecture.image_size)
    fits = entry is not None and architecture.local_cls_norm == (entry.name == WITH_THE_NORM)
    return entry.name if entry and fits else None


def completed(architecture: RotaryViT, lost: Container[str], because: str) -> tuple[RotaryViT, tuple[Rule, ...]]:
    """The model as its own code has it, and rules that make what a folder has `lost` of it, or never had."""
    entry = hub_entry(architecture, architecture.image_size)
    wanted = NORM_OF_LOCAL_CROPS in lost or (entry is not None and entry.name == WITH_THE_NORM)
    if architecture.local_cls_norm or not wanted:
        return architecture, ()
    constants = {"weight": ones(architecture.width), "bias": zeros(architecture.width)}
    rules = (make(f"{NORM_OF_LOCAL_CROPS}.{leaf}", each, f"{because}: {each}") for leaf, each in constants.items())
    return replace(architecture, local_cls_norm=True), tuple(rules)


FAMILY = Family(
    name="dinov3",
    title="DINOv3 ViT",
    upstream="facebookresearch/dinov3",
    drops=OF_DINOV3,
    preprocessing=DINOV3_PROCESSOR,
    classifiers=("linear_head",),
)
