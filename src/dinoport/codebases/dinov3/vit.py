"""Read a DINOv3 ViT's sizes and options. Its heads and its rotary base are in `rope_embed.periods`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from dinoport.codebases.builder import believe
from dinoport.codebases.clues import Signs, called
from dinoport.codebases.codebase import Evidence, Reading
from dinoport.codebases.dinov3.hub import RELEASED_REGISTERS
from dinoport.codebases.dinov3.hub import completed as completed
from dinoport.codebases.dinov3.hub import hub_entry as hub_entry
from dinoport.codebases.dinov3.hub import hub_file as hub_file
from dinoport.codebases.dinov3.periods import ROPE_BASE, base_of_run, base_setting, heads_setting, read_rope
from dinoport.codebases.dinov3.projection import made_before as made_before
from dinoport.codebases.dinov3.refusals import COORDINATES, refuse_coordinates, refuse_what_no_class_computes
from dinoport.codebases.dinov3.signs import PERIODS
from dinoport.codebases.drops import OF_DINOV3, with_or_without_mask
from dinoport.codebases.heads import Weighed, head_reader, weighed
from dinoport.codebases.run import Read, contradictions, full_precision, input_size, said, statistics, text
from dinoport.codebases.shapes import required
from dinoport.codebases.vit_sizes import ViTSizes, read_sizes
from dinoport.errors import UnknownModelError
from dinoport.mapping.claims import Problem, compare_shapes
from dinoport.model import Family, Origin, Setting, columns_setting, eps_setting, fixed
from dinoport.networks.network import Classifier, Features
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, Preprocessing
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.tensor import Shape, shape_text

written = with_or_without_mask

BUILDERS = {
    "vit_small": (384, 6, 12, 4.0),
    "vit_base": (768, 12, 12, 4.0),
    "vit_large": (1024, 16, 24, 4.0),
    "vit_so400m": (1152, 18, 27, 3.777777778),
    "vit_huge2": (1280, 20, 32, 4.0),
    "vit_giant2": (1536, 24, 40, 4.0),
    "vit_7b": (4096, 32, 40, 3.0),
}
"""Width, heads, depth and MLP ratio of the builders in `dinov3/models/vision_transformer.py`, by a config's
`student.arch`; no option changes them."""

EPS = {"layernorm": 1e-6, "layernormbf16": 1e-5}
"""By a config's `student.norm_layer`."""

FIXED = {"rope dtype": "float32", "qk scale": "head_dim ** -0.5"}
"""What `vision_transformer.py` and `attention.py` compute with, and no tensor shows. Training runs RoPE in bfloat16."""

SIGNS = Signs(
    files=("dinov3_",),
    tells=lambda clues: None if ".eupe" in clues.architecture else called(clues, "_dinov3", ".dinov3"),
)

BESIDE = ("dino_head.", "ibot_head.", "local_cls_norm.")
"""What training keeps beside a backbone, and the norm of its local crops: relatives are published without these."""


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINOv3 ViT.

    Raises PlanError where sizes cannot be read, UnknownModelError for options that no class of Transformers computes,
    SettingError where the user's word contradicts the tensors.
    """
    shapes = evidence.shapes
    sizes = read_sizes(shapes, evidence.where, table=False)
    refuse_what_no_class_computes(evidence, shapes)
    rope = read_rope(evidence)
    held = Weighed(heads_setting(evidence, sizes))
    if evidence.weigh_heads:
        held = weighed(evidence.where, held.setting, head_reader(evidence.tensors, sizes.width)())
    heads = held.setting
    swiglu = "blocks.0.mlp.w1.weight" in shapes
    mlp = f"blocks.0.mlp.{'w1' if swiglu else 'fc1'}.weight"
    registers = required(shapes, "storage_tokens", 3, evidence.where)[1] if "storage_tokens" in shapes else 0
    qkv_bias = "blocks.0.attn.qkv.bias" in shapes
    mask, mask_problems = _key_mask(evidence, sizes.depth)
    belief = believe(said(evidence), BUILDERS, sizes)
    eps = _eps(evidence, registers, mask == "keys" or not qkv_bias)
    size = input_size(evidence)
    preprocessing = _preprocessing(evidence, sizes, shapes, size)
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
    activation = (
        ("silu gate", Origin.STORED, "a gate, mlp.w1")
        if swiglu
        else ("exact gelu", Origin.ASSUMED, "as in all DINOv3 ViTs")
    )
    settings: tuple[Setting[object], ...] = (
        heads,
        *sizes.settings(architecture.mlp_hidden, mlp),
        Setting("registers", registers, Origin.STORED, "storage_tokens" if registers else "no storage_tokens"),
        base_setting(evidence, rope),
        _coordinates(evidence),
        *fixed(FIXED, Origin.ASSUMED, "as in all released DINOv3 ViTs"),
        eps,
        Setting("activation", *activation),
        *_head_columns(evidence, architecture.classifier),
        *((size,) if size else ()),
    )
    problems = (*mask_problems, *compare_shapes(shapes, architecture.tensors()))
    doubts = (*belief.remarks, *contradictions(evidence, _as_in_config(evidence, architecture)))
    if not doubts:
        refuse_coordinates(evidence)
    remarks, warnings = tuple(full_precision(evidence)), (*_eps_warnings(evidence), *held.warnings)
    stated = base_of_run(evidence)
    return Reading(architecture, settings, problems, remarks, preprocessing, held.reading, warnings, doubts, stated)


SIZES_IN_CONFIG = {
    "student.patch_size": "patch_size",
    "student.n_storage_tokens": "registers",
    "student.qkv_bias": "qkv_bias",
    "student.proj_bias": "proj_bias",
    "student.ffn_bias": "ffn_bias",
    "student.untie_global_and_local_cls_norm": "local_cls_norm",
}
"""Options of a run's config (`dinov3/configs/ssl_default_config.yaml`), by the sizes of a ViT that they are."""


def _as_in_config(evidence: Evidence, architecture: RotaryViT) -> dict[str, Read]:
    """What the tensors show of the settings in a run's config."""
    mlp = architecture.feed_forward == "mlp"
    shown: dict[str, Read] = {
        **{option: getattr(architecture, size) for option, size in SIZES_IN_CONFIG.items()},
        "student.ffn_layer": ("mlp",) if mlp else ("swiglu", "swiglu32", "swiglu64", "swiglu128"),
        "student.norm_layer": tuple(EPS),
        "student.untie_cls_and_patch_norms": False,
        "student.in_chans": architecture.channels,
        "student.layerscale": architecture.layer_scale,
    }
    if architecture.qkv_bias:
        shown["student.mask_k_bias"] = architecture.key_bias_mask
    if PERIODS not in evidence.declared and evidence.tensors[PERIODS].size > 1:
        shown[ROPE_BASE] = architecture.rope_theta
    return shown


def _eps(evidence: Evidence, registers: int, like_released: bool) -> Setting[float]:
    """The config's norm layer; else that of the models that have the same parts: released, or trained by default.

    A model that was distilled from a released one may have that one's norms and other parts (LightlyTrain).
    """
    own = EPS.get(text(evidence, "student.norm_layer") or "")
    if own is not None and evidence.config is not None:
        return eps_setting(evidence.wishes, own, Origin.INFERRED, f"student.norm_layer in {evidence.config.name}")
    if registers == RELEASED_REGISTERS and like_released:
        return eps_setting(evidence.wishes, 1e-5, Origin.ASSUMED, "as in all released DINOv3 ViTs")
    reason = "as in DINOv3's default training config; released models have 4 registers and no key bias"
    found = eps_setting(evidence.wishes, 1e-6, Origin.ASSUMED, reason)
    return replace(found, doubted=True) if found.reason == reason else found


def _eps_warnings(evidence: Evidence) -> tuple[str, ...]:
    """That what was said of eps is followed, where it contradicts the config's norm layer."""
    layer, given = text(evidence, "student.norm_layer") or "", evidence.wishes.layer_norm_eps
    if evidence.config is None or given is None or EPS.get(layer, given) == given:
        return ()
    speaker = evidence.wishes.speaker("layer_norm_eps")
    says = f"{evidence.config.name} says student.norm_layer = {layer}, whose eps is {EPS[layer]:g}"
    return (f"{says}; {speaker} says {given:g}, and is followed",)


def _coordinates(evidence: Evidence) -> Setting[str]:
    """As the config says. Where it says others than `separate` it is refused, or doubted if it is another model's."""
    name = "rope coordinates"
    said = text(evidence, "student.pos_embed_rope_normalize_coords")
    if evidence.config is not None and said in ("separate", *COORDINATES):
        return Setting(name, said, Origin.INFERRED, evidence.config.name)
    return Setting(name, "separate", Origin.ASSUMED, "as in all released DINOv3 ViTs; no matter for square pictures")


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
) -> Preprocessing:
    """Satellite models have statistics of their own. The ViT-L is told by its parts, the 7B by its published name."""
    own, told = DINOV3_PROCESSOR, None
    if evidence.facts is not None and evidence.facts.preprocessing is not None:
        own = evidence.facts.preprocessing
    elif "local_cls_norm.weight" in shapes and sizes.width == BUILDERS["vit_large"][0]:
        own, told = DINOV3_SAT, "local_cls_norm, which of the published ViT-Ls the satellite one has"
    elif "sat493m" in Path(evidence.where).name:
        own, told = DINOV3_SAT, "the file's name"
    own = statistics(evidence, replace(own, reason=f"{own.reason}, told by {told}") if told else own)
    if evidence.preprocessing and size is None:
        own = replace(own, resize=evidence.preprocessing.size)
    return own.for_image_size(size.value if size else own.size)


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


def _head_columns(evidence: Evidence, classifier: Classifier | None) -> tuple[Setting[str], ...]:
    if classifier is None or evidence.head is None:
        return ()
    return (columns_setting(classifier.features.value, evidence.head, (), "dinov3/eval/linear.py"),)


FAMILY = Family(
    name="dinov3",
    title="DINOv3 ViT",
    upstream="facebookresearch/dinov3",
    drops=OF_DINOV3,
    preprocessing=DINOV3_PROCESSOR,
    classifiers=("linear_head",),
)
