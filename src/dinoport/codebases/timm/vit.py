"""VisionTransformer: the home of DINO's and DINOv2's ViTs in timm (`timm/models/vision_transformer.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.forming import baked_from, input_size, position_rule, processed_size
from dinoport.codebases.target import Target
from dinoport.codebases.timm import builders
from dinoport.codebases.timm.biases import PARTS, made
from dinoport.codebases.timm.builders import TimmBuilder, chosen, mlp_ratio
from dinoport.codebases.timm.dinov2 import TRAINING, table
from dinoport.codebases.timm.pretrained import folder_of
from dinoport.codebases.timm.refusals import refuse_eps, refuse_head, refuse_tokens
from dinoport.mapping.constants import zeros
from dinoport.mapping.operations import BakeTable, DropClsRow, Kind
from dinoport.mapping.plan import Span, Step
from dinoport.mapping.rule import Rule, copy, drop, without_bias
from dinoport.mapping.sums import added, without_start
from dinoport.model import Model
from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from dinoport.networks.vit.architecture import POSITIONS, ViT
from dinoport.request import Request
from dinoport.tensor import Shape, TensorRef, TensorSpec

LAYERS = ("patch_embed.proj", "head")

FOLDED = (
    "cls_token is written with the CLS row of pos_embed added to it, as timm keeps them: in float32, as the original "
    "adds them in each pass; the two return as that sum and a row of zeros"
)


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Timm's VisionTransformer for a ViT, with its classifier if that looks at the CLS token alone.

    Raises UnknownModelError for a classifier or an eps that timm does not have.
    """
    vit: ViT = model.architecture  # type: ignore[assignment]  # the form is chosen by the network
    refuse_tokens(model, usual=vit.cls_token and not (vit.distillation_token or vit.pooled_norm))
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
        processed=size if vit.is_plain else processed_size(request, model.preprocessing),
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
    positions: Rule | None = None
    if not vit.registers:
        positions = position_rule(POSITIONS, size, vit.image_size, vit.patch_size, vit.interpolation)
    bare = [part for name, part in PARTS.items() if not getattr(vit, name)]
    own = without_bias(table(vit.feed_forward == "swiglu", vit.registers > 0, positions), bare)
    mask = (drop("mask_token", because=TRAINING, returns=zeros(1, vit.width)),) if vit.mask_token else ()
    head = (copy("classifier.{p}", "head.{p}"),) if vit.classifier else ()
    return (*own, *mask, *head, *made(_biases(vit), bare))


def _biases(vit: ViT) -> dict[str, Shape]:
    """The biases that timm has: one switch is for both parts, so where only one lacks them it gets zeros."""
    if not (vit.proj_bias or vit.ffn_bias):
        return {}
    hidden = 2 * vit.mlp_hidden if vit.feed_forward == "swiglu" else vit.mlp_hidden
    features = {"attn.proj": vit.width, "mlp.fc1": hidden, "mlp.fc2": vit.width}
    return {f"blocks.{i}.{layer}.bias": (count,) for i in range(vit.depth) for layer, count in features.items()}


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


def _wanted(vit: ViT, size: int) -> dict[str, object]:
    hidden = 2 * vit.mlp_hidden if vit.feed_forward == "swiglu" else vit.mlp_hidden
    return {
        "img_size": size,
        "patch_size": vit.patch_size,
        "embed_dim": vit.width,
        "depth": vit.depth,
        "num_heads": vit.heads,
        "mlp_ratio": mlp_ratio(hidden, vit.width),
        "qkv_bias": vit.qkv_bias,
        "proj_bias": vit.proj_bias or vit.ffn_bias,
        "init_values": 1e-5 if vit.layer_scale else None,
        **({"reg_tokens": vit.registers, "no_embed_class": True} if vit.registers else {}),
        "pre_norm": False,
        "dynamic_img_size": True,
    }


def _anew(model: Model, vit: ViT, size: int) -> dict[str, TensorRef]:
    """With registers timm adds the CLS token's row of the table to the token once, where the original does each time.

    Nothing where the row is zero because it was added already.
    """
    if not vit.registers:
        return {}
    cls, positions = model.tensors["cls_token"], model.tensors[POSITIONS]
    if size != vit.image_size:
        rule = vit.interpolation
        operation = BakeTable(grid=size // vit.patch_size, offset=rule.offset, antialias=rule.antialias)
        positions = _computed(positions, operation.target_shape(positions.shape), operation)
    elif isinstance(model.decoding.steps[POSITIONS].operation, DropClsRow):
        return {}
    return {"cls_token": added(cls, positions), POSITIONS: without_start(positions, vit.width)}


def _computed(tensor: TensorRef, shape: tuple[int, ...], operation: BakeTable) -> TensorRef:
    spec = TensorSpec(tensor.name, tensor.dtype, shape)
    return Step(spec, (Span(tensor, 0, tensor.size),), operation, Kind.RECOMPUTED, tensor.shape).tensor()
