"""Recognise a DINO ViT and read its sizes: all of them are in the shapes, but for the number of heads."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.averaging import AVERAGED
from dinoport.codebases.builder import Said, believe, heads_setting
from dinoport.codebases.family import Evidence, Family, Reading
from dinoport.codebases.preprocessing import EVALUATION
from dinoport.codebases.probe import Features, Probe, columns_setting
from dinoport.codebases.setting import Setting, eps_setting, interpolation_setting
from dinoport.codebases.shapes import required
from dinoport.codebases.vit_sizes import read_sizes
from dinoport.errors import UnknownModelError
from dinoport.mapping.resolve import compare_shapes
from dinoport.mapping.rule import drop
from dinoport.networks.interpolation import SCALE_WITH_OFFSET
from dinoport.networks.vit.architecture import DinoViT
from dinoport.tensor import Shape, shape_text

BUILDERS = {"vit_tiny": (192, 3), "vit_small": (384, 6), "vit_base": (768, 12)}
"""Width and heads of the builders in `vision_transformer.py`, by the `arch` that `main_dino.py` stores."""

MLP = "blocks.0.mlp.fc1.weight"

PROJECTION_HEAD = "the projection head of self-distillation; no class of Transformers has a place for it"

DROPS = (
    drop("head.mlp.{k}.{p}", because=PROJECTION_HEAD),
    drop("head.last_layer.{p}", because=PROJECTION_HEAD),
    AVERAGED,
)


def recognises(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINO ViT's and no later family's."""
    later = any(name in shapes for name in ("mask_token", "register_tokens", "rope_embed.periods"))
    later = later or any(name.endswith((".ls1.gamma", ".w12.weight", ".gamma1")) for name in shapes)
    return "cls_token" in shapes and any(name.endswith(".attn.qkv.weight") for name in shapes) and not later


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINO ViT. Raises PlanError where sizes cannot be read, SettingError for the heads."""
    shapes = {name: tensor.shape for name, tensor in evidence.tensors.items()}
    sizes = read_sizes(shapes, evidence.where, table=True)
    hidden = required(shapes, MLP, 2, evidence.where)[0]
    classifier = shapes.get("head.weight")
    belief = believe(_said(evidence), BUILDERS, sizes.width, sizes.patch_size)
    heads = heads_setting(evidence.where, evidence.wishes, sizes.width, belief)
    from_code = belief.from_code("as in all DINO models")
    eps = eps_setting(evidence.wishes, 1e-6, *from_code)
    interpolation = interpolation_setting(evidence.wishes, SCALE_WITH_OFFSET, *from_code)
    architecture = DinoViT(
        width=sizes.width,
        depth=sizes.depth,
        heads=heads.value,
        mlp_hidden=hidden,
        patch_size=sizes.patch_size,
        image_size=sizes.image_size,
        channels=sizes.channels,
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_norm_eps=eps.value,
        classes=classifier[0] if classifier else None,
        probe=_probe(evidence, sizes.width),
        interpolation=interpolation.value,
    )
    activation = Setting("activation", "exact gelu", *from_code)
    columns = _head_columns(evidence, architecture.probe)
    settings = (heads, *sizes.settings(hidden, MLP), eps, activation, interpolation, *columns)
    return Reading(architecture, settings, tuple(compare_shapes(shapes, architecture.tensors())), belief.remarks)


def _head_columns(evidence: Evidence, probe: Probe | None) -> tuple[Setting[str], ...]:
    if probe is None or probe.features is Features.CLS:
        return ()
    return (columns_setting(probe.features, evidence.head, ("linear",), "eval_linear.py"),)


def _probe(evidence: Evidence, width: int) -> Probe | None:
    """What a linear classifier takes, told by its columns. Raises UnknownModelError where no class computes that."""
    shape = evidence.shape("linear.weight")
    if shape is None:
        return None
    columns = shape[1] if len(shape) == 2 else 0
    if columns == width:
        return Probe(Features.CLS, shape[0])
    if columns == 2 * width:
        return Probe(Features.CLS_MEAN_INTERLEAVED, shape[0])
    tokens = (
        f"{columns // width} CLS tokens of the last blocks" if columns and columns % width == 0 else "other features"
    )
    raise UnknownModelError(
        "this linear head cannot be converted: no class of Transformers computes its features",
        where="linear.weight",
        expected=f"{width} columns (the CLS token) or {2 * width} (CLS token and patch mean)",
        found=f"shape {shape_text(shape)}: {tokens}",
        cause="facebookresearch/dino trains its ViT-S heads on the CLS tokens of the last four blocks",
        next_step="leave --head out; the features are layernorm(hidden_states[-4:])[:, 0], oldest block first",
    )


def _said(evidence: Evidence) -> Said:
    """What `main_dino.py` keeps beside its weights; it calls the DeiT builders by their old name too."""
    arguments = evidence.arguments
    arch = str(arguments.get("arch", "")).replace("deit", "vit")
    return Said("the checkpoint's args", arch, arguments.get("patch_size"))


FAMILY = Family(
    name="dino",
    title="DINO ViT",
    upstream="facebookresearch/dino",
    recognises=recognises,
    read=read,
    drops=DROPS,
    preprocessing=EVALUATION,
    reference="dinoport.networks.vit.forward",
    classifier="linear",
)
