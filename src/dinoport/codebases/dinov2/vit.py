"""Read a DINOv2 ViT's sizes, its options and the rule that resamples its position table."""

from collections.abc import Mapping
from math import isqrt

from dinoport.codebases.builder import HEAD_DIM, believe, heads_of
from dinoport.codebases.clues import Signs, called
from dinoport.codebases.codebase import Evidence, Facts, HubEntry, Reading
from dinoport.codebases.dinov2.linear import features_of
from dinoport.codebases.drops import OF_DINOV2
from dinoport.codebases.run import CROPS, Read, contradictions, flag, input_size, number, said
from dinoport.codebases.shapes import count_blocks, required
from dinoport.codebases.vit_sizes import PATCHES, read_sizes
from dinoport.errors import UnknownModelError
from dinoport.formats.run_config import RunConfig
from dinoport.mapping.claims import compare_shapes
from dinoport.model import Family, Origin, Setting, columns_setting, eps_setting, fixed, interpolation_setting
from dinoport.networks.interpolation import SCALE_WITH_OFFSET, TO_SIZE_ANTIALIASED, Interpolation
from dinoport.networks.network import Classifier, Features
from dinoport.networks.preprocessing import DINOV2_EVALUATION
from dinoport.networks.vit.architecture import ViT
from dinoport.tensor import Shape, TensorRef, shape_text

BUILDERS = {
    "vit_small": (384, 6, 12),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 16, 24),
    "vit_giant2": (1536, 24, 40),
}
"""Width, heads and depth of the builders in `dinov2/models/vision_transformer.py`, by a config's `student.arch`. All
have an MLP ratio of 4."""

MEMORY_EFFICIENT = "_memeff"
"""An end of a builder's name that means the same builder."""

FIXED = {"qk scale": "head_dim ** -0.5"}
"""What `dinov2/layers/attention.py` computes with, and no tensor shows."""

FACTS = Facts("DINOv2")

SIGNS = Signs(tells=lambda clues: called(clues, "_dinov2"))

PUBLISHED_IMAGE_SIZE = 518
"""Pixels that every released model's position table was made for; all of them are evaluated at 224."""


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINOv2 ViT. Raises PlanError where sizes cannot be read, SettingError for the heads."""
    facts = evidence.facts or FACTS
    shapes = evidence.shapes
    sizes = read_sizes(shapes, evidence.where, table=True)
    swiglu = "blocks.0.mlp.w12.weight" in shapes
    mlp = "blocks.0.mlp.w3.weight" if swiglu else "blocks.0.mlp.fc1.weight"
    hidden = required(shapes, mlp, 2, evidence.where)[1 if swiglu else 0]
    registers = required(shapes, "register_tokens", 3, evidence.where)[1] if "register_tokens" in shapes else 0
    belief = believe(said(evidence, MEMORY_EFFICIENT), BUILDERS, sizes)
    held = heads_of(evidence, sizes, facts, belief)
    heads = held.setting
    from_code = belief.from_code(facts.as_in_all())
    eps = eps_setting(evidence.wishes, 1e-6, *from_code)
    interpolation = _interpolation(evidence, registers, facts)
    architecture = ViT(
        width=sizes.width,
        depth=sizes.depth,
        heads=heads.value,
        mlp_hidden=hidden,
        patch_size=sizes.patch_size,
        image_size=sizes.image_size,
        channels=sizes.channels,
        feed_forward="swiglu" if swiglu else "mlp",
        registers=registers,
        layer_scale="blocks.0.ls1.gamma" in shapes,
        mask_token="mask_token" in shapes,
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        proj_bias="blocks.0.attn.proj.bias" in shapes,
        ffn_bias=mlp.replace(".weight", ".bias") in shapes,
        layer_norm_eps=eps.value,
        interpolation=interpolation.value,
        float32_table=True,
        classifier=_classifier(evidence, sizes.width),
    )
    size = input_size(evidence)
    if size is not None and size.value != sizes.image_size:
        size = None
    activation = ("silu gate", Origin.STORED, "a joint gate, mlp.w12") if swiglu else ("exact gelu", *from_code)
    settings: tuple[Setting[object], ...] = (
        heads,
        *sizes.settings(hidden, mlp),
        Setting("registers", registers, Origin.STORED, "register_tokens" if registers else "no register_tokens"),
        eps,
        Setting("activation", *activation),
        *fixed(FIXED, *from_code),
        interpolation,
        *((size,) if size else ()),
        *_head_columns(evidence, architecture.classifier),
    )
    published = size is None and sizes.image_size == PUBLISHED_IMAGE_SIZE
    own = facts.preprocessing or DINOV2_EVALUATION
    preprocessing = own.for_image_size(own.size if published else sizes.image_size)
    problems = tuple(compare_shapes(shapes, architecture.tensors()))
    doubts = (*belief.remarks, *contradictions(evidence, _as_in_config(architecture)))
    return Reading(architecture, settings, problems, (), preprocessing, held.reading, held.warnings, doubts)


UNUSED = "a single row of zeros: UniDepth keeps one where it has no registers, and leaves it out"


def unused(tensors: Mapping[str, TensorRef]) -> dict[str, Setting[str]]:
    """What lies among a DINOv2's tensors and is not computed with, by its name.

    UniDepth's `dinov2.py` makes `max(1, num_register_tokens)` registers. A training fills those that it uses, as it
    does the CLS token: even fresh ones are not zero upstream.
    """
    found, token = tensors.get("register_tokens"), tensors.get("cls_token")
    if found is None or token is None or len(found.shape) != 3 or found.shape[1] != 1:
        return {}
    if found.read().any() or not token.read().any():
        return {}
    return {found.name: Setting(found.name, "not used", Origin.ASSUMED, UNUSED, doubted=True)}


def whole_shapes(sizes: Mapping[str, int], where: str, config: RunConfig | None) -> dict[str, Shape]:
    """The shapes of tensors of which only the numbers of elements are known, by name.

    The patch size is the config's, else that of three channels. Raises PlanError for sizes that no ViT has.
    """
    counts = {name: (size,) for name, size in sizes.items()}
    [width] = required(counts, "norm.weight", 1, where)
    kernel = required(counts, PATCHES, 1, where)[0] // width
    told = config.number("student.patch_size") if config else None
    side = int(told) if told and told >= 1 and kernel % int(told) ** 2 == 0 else isqrt(kernel // 3)
    swiglu = "blocks.0.mlp.w12.weight" in sizes
    hidden = required(counts, "blocks.0.mlp.w3.weight" if swiglu else "blocks.0.mlp.fc1.weight", 1, where)[0] // width
    network = ViT(
        width=width,
        depth=count_blocks(sizes),
        heads=1,  # no shape depends on it
        mlp_hidden=hidden,
        patch_size=max(side, 1),
        image_size=max(side, 1) * isqrt(max(sizes["pos_embed"] // width - 1, 0)),
        channels=kernel // max(side, 1) ** 2,
        feed_forward="swiglu" if swiglu else "mlp",
        registers=sizes.get("register_tokens", 0) // width,
        layer_scale=True,
        mask_token=True,
    )
    return network.tensors()


SIZES_IN_CONFIG = {
    "student.patch_size": "patch_size",
    "student.num_register_tokens": "registers",
    "student.qkv_bias": "qkv_bias",
    "student.proj_bias": "proj_bias",
    "student.ffn_bias": "ffn_bias",
}
"""Options of a run's config (`dinov2/configs/ssl_default_config.yaml`), by the sizes of a ViT that they are."""


def _as_in_config(architecture: ViT) -> dict[str, Read]:
    """What the tensors show of the settings in a run's config."""
    return {
        **{option: getattr(architecture, size) for option, size in SIZES_IN_CONFIG.items()},
        "student.ffn_layer": ("mlp",) if architecture.feed_forward == "mlp" else ("swiglu", "swiglufused"),
        "student.layerscale": architecture.layer_scale,
        CROPS: architecture.image_size,
    }


def _interpolation(evidence: Evidence, registers: int, facts: Facts) -> Setting[Interpolation]:
    """The run's own config decides; released models with registers resample otherwise than those without."""
    if facts.interpolation is not None:
        reason = facts.rule or facts.as_in_all()
        return interpolation_setting(evidence.wishes, facts.interpolation, Origin.ASSUMED, reason)
    antialias, offset = (_or_off(evidence, f"student.interpolate_{name}") for name in ("antialias", "offset"))
    if antialias is not None and offset is not None and evidence.config is not None:
        own = Interpolation(float(offset), bool(antialias))
        return interpolation_setting(evidence.wishes, own, Origin.INFERRED, evidence.config.name)
    own = TO_SIZE_ANTIALIASED if registers else SCALE_WITH_OFFSET
    kind = "with" if registers else "without"
    return interpolation_setting(evidence.wishes, own, Origin.ASSUMED, f"as in released models {kind} registers")


def _or_off(evidence: Evidence, name: str) -> float | None:
    """A switch or a number of the run's config, 0 where it says nothing by it; None where it does not say it at all."""
    config = evidence.config
    if config is not None and config.says(name) and config.value(name, None) is None:
        return 0
    own = flag(evidence, name)
    return number(evidence, name) if own is None else own


def _head_columns(evidence: Evidence, classifier: Classifier | None) -> tuple[Setting[str], ...]:
    in_timm = evidence.head is None and evidence.classifier == "head"  # looks at the CLS token
    if classifier is None or in_timm:
        return ()
    if evidence.head and features_of(evidence.head):
        return (columns_setting(classifier.features.value, evidence.head, (evidence.head,), "dinov2/eval/linear.py"),)
    if classifier.features is Features.CLS:
        return (columns_setting(classifier.features.value, evidence.head or "", (), "dinov2/eval/linear.py"),)
    own = ("", "linear_head")
    return (columns_setting(classifier.features.value, evidence.head, own, "dinov2/hub/classifiers.py"),)


def _classifier(evidence: Evidence, width: int) -> Classifier | None:
    """A one-layer linear head, if there is one. Raises UnknownModelError for a head that no class computes."""
    shape = evidence.shape("classifier.weight")
    if shape is None:
        return None
    features = {width: Features.CLS, 2 * width: Features.CLS_MEAN}.get(shape[1]) if len(shape) == 2 else None
    named = features_of(evidence.head or "")
    if features is not None and named in (None, (1, features is Features.CLS_MEAN)):
        return Classifier(features, shape[0])
    layers = "CLS tokens of the last four blocks and a patch mean" if shape[1:] == (5 * width,) else "other features"
    if named is not None:
        mean = "and their patch mean" if named[1] else "without a patch mean"
        layers = f"CLS tokens of the last {named[0]} blocks, {mean}, by the name {evidence.head}"
    raise UnknownModelError(
        "this linear head cannot be converted: no class of Transformers or timm computes its features",
        where=f"{evidence.classifier}.weight",
        expected=f"{2 * width} columns: CLS token, then patch mean (layers=1 of facebookresearch/dinov2)",
        found=f"shape {shape_text(shape)}: {layers}",
        cause="the four-layer variant of the published heads (_linear4_head.pth), or a head of another model",
        next_step="give the one-layer head (_linear_head.pth), or leave `head` out",
    )


SIZES = {
    384: ("dinov2_vits14", 12),
    768: ("dinov2_vitb14", 12),
    1024: ("dinov2_vitl14", 24),
    1536: ("dinov2_vitg14", 40),
}
"""The entry of the hubconf.py and the depth, by width."""


def hub_entry(architecture: ViT, image_size: int) -> HubEntry | None:
    name, depth = SIZES.get(architecture.width, ("", 0))
    giant = architecture.width == 1536
    usual = ViT(
        width=architecture.width,
        depth=depth,
        heads=architecture.width // HEAD_DIM,
        mlp_hidden=4096 if giant else 4 * architecture.width,
        patch_size=architecture.patch_size,
        image_size=architecture.image_size,
        channels=architecture.channels,
        feed_forward="swiglu" if giant else "mlp",
        registers=architecture.registers,
        layer_scale=True,
        mask_token=True,
        interpolation=architecture.interpolation,
        float32_table=True,
        classifier=architecture.classifier,
    )
    if not name or architecture != usual:
        return None
    arguments: dict[str, object] = {} if architecture.channels == 3 else {"in_chans": architecture.channels}
    arguments |= {} if image_size == PUBLISHED_IMAGE_SIZE else {"img_size": image_size}
    arguments |= {} if architecture.patch_size == 14 else {"patch_size": architecture.patch_size}
    arguments |= {} if architecture.registers in (0, 4) else {"num_register_tokens": architecture.registers}
    return HubEntry("facebookresearch/dinov2", f"{name}_reg" if architecture.registers else name, arguments)


FAMILY = Family(
    name="dinov2",
    title="DINOv2 ViT",
    upstream="facebookresearch/dinov2",
    drops=OF_DINOV2,
    preprocessing=DINOV2_EVALUATION,
    classifiers=("linear_head",),
    beside=("linear_head",),  # `_LinearClassifierWrapper` in `dinov2/hub/classifiers.py`
)
