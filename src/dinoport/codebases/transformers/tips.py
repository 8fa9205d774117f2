"""Tipsv2VisionModel, which resamples its position table as TIPS does, and takes an MLP of any width.

It is a class of Transformers 5 alone. Names on disk are the original's own.
"""

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.record import original_fields
from dinoport.codebases.target import Target, baked_from, form_of, input_size, position_rule
from dinoport.codebases.transformers.dinov2 import scaled_fields
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Model
from dinoport.networks.interpolation import BILINEAR_ANTIALIASED
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

NAMES = (
    "cls_token",
    "register_tokens",
    "mask_token",
    "patch_embed.proj.{p}",
    "blocks.{i}.norm{n}.{p}",
    "blocks.{i}.attn.qkv.{p}",
    "blocks.{i}.attn.proj.{p}",
    "blocks.{i}.ls{n}.gamma",
    "blocks.{i}.mlp.fc1.{p}",
    "blocks.{i}.mlp.fc2.{p}",
    "norm.{p}",
)
RULES: tuple[Rule, ...] = tuple(copy(name, name) for name in NAMES)

SAVED = (("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"))
"""What Transformers 5 calls a part when it saves it, beside what is written here and what it loads alike."""

CLASS = "Tipsv2VisionModel"


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    vit = model.architecture_as(ViT)
    size = input_size(request, vit.image_size, vit.patch_size)
    whole = vit.mlp_hidden % vit.width == 0
    config: dict[str, object] = {
        "architectures": [CLASS],
        "model_type": "tipsv2_vision_model",
        **scaled_fields(vit, size),
        # The class rounds the product down.
        "mlp_ratio": vit.mlp_hidden // vit.width if whole else (vit.mlp_hidden + 0.5) / vit.width,
        "use_swiglu_ffn": False,
        "num_register_tokens": vit.registers,
        **original_fields(model.family.name, baked_from=baked_from(size, vit.image_size)),
    }
    positions = position_rule(ViT.positions, vit, size)
    return replace(
        form_of(model, request, CLASS, config, (positions, *RULES), size),
        resamples_alike=vit.interpolation == BILINEAR_ANTIALIASED,
        since="Transformers 5",
    )


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "tips", (copy(ViT.positions, ViT.positions), *RULES)
