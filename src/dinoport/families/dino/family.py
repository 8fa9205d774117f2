"""Recognise a DINO ViT and read its sizes: all of them are in the shapes, but for the number of heads."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.errors import PlanError, SettingError, UnknownModelError
from dinoport.families.dino.architecture import DinoViT
from dinoport.families.family import Evidence, Family, Reading
from dinoport.families.interpolation import INTERPOLATIONS
from dinoport.families.preprocessing import EVALUATION
from dinoport.families.probe import Features, Probe
from dinoport.families.setting import Origin, Setting
from dinoport.families.shapes import count_blocks, required, square_side
from dinoport.mapping.resolve import compare_shapes
from dinoport.mapping.rule import drop
from dinoport.tensor import Shape, shape_text

HEAD_DIM = 64
"""Width of one attention head in every model that `vision_transformer.py` builds."""

BUILDERS = {"vit_tiny": (192, 3), "vit_small": (384, 6), "vit_base": (768, 12)}
"""Width and heads of the builders in `vision_transformer.py`, by the `arch` that `main_dino.py` stores."""

MAX_DEPTH = 1000
"""More blocks than any ViT has: a higher number is a damaged name, not a model."""

PROJECTION_HEAD = "the projection head of self-distillation; no class of Transformers has a place for it"

DROPS = (
    drop("head.mlp.{k}.{p}", because=PROJECTION_HEAD),
    drop("head.last_layer.{p}", because=PROJECTION_HEAD),
)


def recognises(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINO ViT's and no later family's."""
    later = any(name in shapes for name in ("mask_token", "register_tokens", "rope_embed.periods"))
    later = later or any(name.endswith((".ls1.gamma", ".w12.weight", ".gamma1")) for name in shapes)
    return "cls_token" in shapes and any(name.endswith(".attn.qkv.weight") for name in shapes) and not later


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINO ViT. Raises PlanError where sizes cannot be read, SettingError for the heads."""
    shapes = {name: tensor.shape for name, tensor in evidence.tensors.items()}
    patch = required(shapes, "patch_embed.proj.weight", 4, evidence.where)
    width, channels, patch_size, _ = patch
    rows = required(shapes, "pos_embed", 3, evidence.where)[1]
    side = square_side(rows - 1)
    hidden = required(shapes, "blocks.0.mlp.fc1.weight", 2, evidence.where)[0]
    depth = count_blocks(shapes)
    if patch[2] != patch[3] or side is None or depth > MAX_DEPTH:
        raise PlanError(f"{evidence.where} cannot be converted", _impossible(patch, rows, depth))
    classifier = shapes.get("head.weight")
    arch, remarks = _believed_arch(evidence, width, patch_size)
    heads = _heads(evidence, width, arch, remarks)
    architecture = DinoViT(
        width=width,
        depth=depth,
        heads=int(str(heads.value)),
        mlp_hidden=hidden,
        patch_size=patch_size,
        image_size=side * patch_size,
        channels=channels,
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_norm_eps=evidence.wishes.layer_norm_eps or 1e-6,
        classes=classifier[0] if classifier else None,
        probe=_probe(evidence, width),
        interpolation=INTERPOLATIONS[evidence.wishes.interpolation or "offset"],
    )
    stored = Origin.STORED
    settings = (
        Setting("width", width, stored, "patch_embed.proj.weight"),
        Setting("depth", depth, stored, "numbered blocks"),
        heads,
        Setting("MLP width", hidden, stored, "blocks.0.mlp.fc1.weight"),
        Setting("patch size", patch_size, stored, "patch_embed.proj.weight"),
        Setting("image size", architecture.image_size, stored, f"a table of {side}×{side} patches"),
        Setting("channels", channels, stored, "patch_embed.proj.weight"),
        _eps(evidence, arch),
        Setting("activation", "exact gelu", *_from_code(arch)),
    )
    return Reading(architecture, settings, tuple(compare_shapes(shapes, architecture.tensors())), remarks)


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


def _eps(evidence: Evidence, arch: str | None) -> Setting:
    if evidence.wishes.layer_norm_eps is not None:
        return Setting("eps", evidence.wishes.layer_norm_eps, Origin.GIVEN, evidence.wishes.speaker("--layer-norm-eps"))
    return Setting("eps", 1e-6, *_from_code(arch))


def _from_code(arch: str | None) -> tuple[Origin, str]:
    """How far a value can be trusted that is fixed in `vision_transformer.py` and stored nowhere."""
    if arch:
        return Origin.INFERRED, f"the code of {arch}, which the checkpoint's args name"
    return Origin.ASSUMED, "as in all DINO models"


def _believed_arch(evidence: Evidence, width: int, patch_size: int) -> tuple[str | None, tuple[str, ...]]:
    """The builder that the checkpoint's own `args` name, if the tensors bear it out; a remark if they do not."""
    arch = str(evidence.arguments.get("arch", "")).replace("deit", "vit")
    if arch not in BUILDERS:
        return None, ()
    if BUILDERS[arch][0] != width:
        contradiction = f"has width {BUILDERS[arch][0]}, the tensors have {width}"
    elif evidence.arguments.get("patch_size", patch_size) != patch_size:
        contradiction = f"goes with patch size {evidence.arguments['patch_size']}, the tensors have {patch_size}"
    else:
        return arch, ()
    return None, (f"the checkpoint's args say {arch}, which {contradiction}: the args are not believed",)


def _heads(evidence: Evidence, width: int, arch: str | None, remarks: tuple[str, ...]) -> Setting:
    """The number of heads: the user's word, else the training's, else what all published models have."""
    given = evidence.wishes.num_heads
    if given is not None:
        option = evidence.wishes.speaker("--num-heads")
        if given < 1 or width % given:
            raise SettingError(
                f"{option} {given} does not divide the width of this model",
                where=evidence.where,
                expected=f"a divisor of {width}",
                found=str(given),
                next_step="look up num_heads in the code or config that trained the model",
            )
        return Setting("heads", given, Origin.GIVEN, option)
    if arch:
        return Setting("heads", BUILDERS[arch][1], Origin.INFERRED, f"the checkpoint's args say {arch}")
    if width % HEAD_DIM:
        raise SettingError(
            f"the number of attention heads of {evidence.where} is not known",
            expected=f"a width that {HEAD_DIM} divides, as in all published models, or --num-heads",
            found=f"width {width}" + (f"; {remarks[0]}" if remarks else ""),
            cause="the head count is in no tensor's shape, and a wrong one loads without an error",
            next_step="add --num-heads N, with N from the code or config that trained the model",
        )
    return Setting("heads", width // HEAD_DIM, Origin.ASSUMED, f"width / {HEAD_DIM}")


def _impossible(patch: Shape, rows: int, depth: int) -> list[str]:
    problems = []
    if patch[2] != patch[3]:
        problems.append(f"patch_embed.proj.weight has shape {shape_text(patch)}: patches that are not square")
    if square_side(rows - 1) is None:
        problems.append(f"pos_embed has {rows} rows: one for the CLS token and {rows - 1}, which is not a square")
    if depth > MAX_DEPTH:
        problems.append(f"blocks are numbered up to {depth - 1}, more than any model has")
    return problems


FAMILY = Family(
    name="dino",
    title="DINO ViT",
    upstream="facebookresearch/dino",
    recognises=recognises,
    read=read,
    drops=DROPS,
    preprocessing=EVALUATION,
    reference="dinoport.families.dino.reference",
)
