"""VisionTransformer: the home of DINO's and DINOv2's ViTs in timm (`timm/models/vision_transformer.py`)."""

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.target import Target, baked_from, baking, input_size, position_rule
from dinoport.codebases.timm import builders
from dinoport.codebases.timm.biases import biases, lacked, whole_table
from dinoport.codebases.timm.builders import TimmBuilder, chosen, mlp_ratio
from dinoport.codebases.timm.dinov2 import REGISTERS, TRAINING, table
from dinoport.codebases.timm.pretrained import folder_of
from dinoport.codebases.timm.refusals import refuse_eps, refuse_head
from dinoport.errors import UnknownModelError
from dinoport.mapping.computation import added, without_start
from dinoport.mapping.constants import zeros
from dinoport.mapping.operations import DropClsRow, Kind
from dinoport.mapping.plan import Span, Step
from dinoport.mapping.rule import Rule, drop
from dinoport.model import Model
from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from dinoport.networks.vit.architecture import POSITIONS, ViT
from dinoport.request import Request
from dinoport.shown.text import with_article
from dinoport.tensor import TensorRef, TensorSpec

LAYERS = ("patch_embed.proj", "head")

FOLDED = (
    "cls_token is written with the CLS row of pos_embed added to it, as timm keeps them: in float32, as the original "
    "adds them in each pass; the two return as that sum and a row of zeros"
)


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Timm's VisionTransformer for a ViT, with its classifier if that looks at the CLS token alone.

    Raises UnknownModelError for a classifier or an eps that timm does not have.
    """
    vit = model.architecture_as(ViT)
    if not vit.cls_token or vit.distillation_token or vit.pooled_norm:
        raise UnknownModelError(
            f"{model.where} cannot be written for timm: {with_article(model.family.title)} has other tokens, or "
            "another norm, than the builders that are known here",
            next_step="`to='transformers'`",
        )
    refuse_head(model)
    size = input_size(request, vit.image_size, vit.patch_size)
    made = folder_of(
        model,
        request,
        labels,
        _builder(model, vit, size),
        _wanted(vit, size),
        rules(vit, size),
        size,
        LAYERS,
        processed=size if vit.is_plain else request.image_size or model.preprocessing.size,
        classifier=model.classifier,
        without=_without(vit),
        mask_token=vit.mask_token,
        baked_from=baked_from(size, vit.image_size),
    )
    anew = _anew(model, vit, size)
    alike = vit.interpolation == TO_SIZE_ANTIALIASED
    return replace(made, anew=anew, remarks=(FOLDED,) if anew else (), resamples_alike=alike)


def rules(vit: ViT, size: int) -> tuple[Rule, ...]:
    """The table of one model: copies for what it has, zeros for a bias that it lacks and timm wants."""
    positions = REGISTERS if vit.registers else (position_rule(POSITIONS, vit, size),)
    own = table(vit.feed_forward == "swiglu", positions)
    mask = (drop("mask_token", because=TRAINING, returns=zeros(1, vit.width)),) if vit.mask_token else ()
    has_biases = vit.proj_bias or vit.ffn_bias  # one switch is for both: where only one lacks them it gets zeros
    shapes = biases(vit, {"mlp.fc1": _first_features(vit)}) if has_biases else {}
    return whole_table((*own, *mask), shapes, lacked(vit), classifies=vit.classifier is not None)


def _first_features(vit: ViT) -> int:
    """How many features the first layer of an MLP gives: a gate is a part of it."""
    return 2 * vit.mlp_hidden if vit.feed_forward == "swiglu" else vit.mlp_hidden


def _without(vit: ViT) -> list[str]:
    """The biases that the folder has and the original has not."""
    if vit.proj_bias == vit.ffn_bias:
        return []
    return ["ffn_bias" if vit.proj_bias else "proj_bias"]


def _builder(model: Model, vit: ViT, size: int) -> TimmBuilder:
    usual, candidates = _candidates(vit)
    if vit.layer_norm_eps == builders.CLIP.eps and vit.feed_forward == "mlp":
        return builders.CLIP
    refuse_eps(model, vit.layer_norm_eps, (usual.eps, builders.CLIP.eps) if vit.feed_forward == "mlp" else (usual.eps,))
    return chosen(candidates, _wanted(vit, size), usual)


def _candidates(vit: ViT) -> tuple[TimmBuilder, tuple[TimmBuilder, ...]]:
    """The builder that takes every size, and those of published sizes."""
    if vit.feed_forward == "swiglu":
        return (builders.GATED_WITH_REGISTERS if vit.registers else builders.GATED), ()
    if vit.registers:
        return builders.WITH_REGISTERS[0], builders.WITH_REGISTERS
    known = builders.DINOV2 if vit.layer_scale else builders.PLAIN
    return known[0], known


def shown(vit: ViT) -> dict[str, object]:
    """What timm's class is asked for that tensors show."""
    return {
        "patch_size": vit.patch_size,
        "embed_dim": vit.width,
        "depth": vit.depth,
        "in_chans": vit.channels,
        "mlp_ratio": mlp_ratio(_first_features(vit), vit.width),
        "qkv_bias": vit.qkv_bias,
        "proj_bias": vit.proj_bias or vit.ffn_bias,
        "init_values": 1e-5 if vit.layer_scale else None,
        "reg_tokens": vit.registers,
        **({} if vit.registers else {"no_embed_class": not vit.cls_token}),
        "class_token": vit.cls_token,
        "pre_norm": False,
        "fc_norm": vit.pooled_norm,
    }


def _wanted(vit: ViT, size: int) -> dict[str, object]:
    own = {name: value for name, value in shown(vit).items() if name not in ("fc_norm", "no_embed_class")}
    registers = {"no_embed_class": True} if vit.registers else {}
    return {"img_size": size, **own, **registers, "num_heads": vit.heads, "dynamic_img_size": True}


def _anew(model: Model, vit: ViT, size: int) -> dict[str, TensorRef]:
    """With registers timm adds the CLS token's row of the table to the token once, where the original does each time.

    Nothing where the row is zero because it was added already.
    """
    if not vit.registers:
        return {}
    cls, positions = model.tensors["cls_token"], model.tensors[POSITIONS]
    if size != vit.image_size:
        operation = baking(vit, size)
        spec = TensorSpec(POSITIONS, positions.dtype, operation.target_shape(positions.shape))
        whole = Span(positions, 0, positions.size)
        positions = Step(spec, (whole,), operation, Kind.RECOMPUTED, positions.shape).tensor()
    elif isinstance(model.decoding.steps[POSITIONS].operation, DropClsRow):
        return {}
    return {"cls_token": added(cls, positions), POSITIONS: without_start(positions, vit.width)}
