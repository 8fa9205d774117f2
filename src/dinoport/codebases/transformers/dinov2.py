"""The Dinov2 classes: the home of DINOv2, and of a DINO ViT with a linear head over CLS token and patch mean.

`Dinov2Model` resamples its position table to the exact size without antialias, `Dinov2WithRegistersModel` with it; no
class has DINOv2's scale factor with an offset. `ViTForImageClassification` classifies the CLS token alone, so DINO's
own heads over CLS token and patch mean live here too: the backbone computes the same once its layer scales are ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from dinoport.codebases.dino.vit import FAMILY as DINO
from dinoport.codebases.dinov2.vit import FAMILY as DINOV2
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.transformers.common import (
    baked_from,
    input_size,
    label_fields,
    original_fields,
    position_rule,
    prepared,
    processed_size,
)
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.errors import SettingError
from dinoport.mapping.constants import ones, zeros
from dinoport.mapping.rule import Rule, copy, deinterleave, make, split_rows, without_bias
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.networks.vit.architecture import DinoViT
from dinoport.networks.vit2.architecture import DinoV2ViT

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",      "encoder.layer.{i}.norm1.{p}"),
    split_rows("blocks.{i}.attn.qkv.{p}", ("encoder.layer.{i}.attention.attention.query.{p}",
                                           "encoder.layer.{i}.attention.attention.key.{p}",
                                           "encoder.layer.{i}.attention.attention.value.{p}")),
    copy("blocks.{i}.norm2.{p}",      "encoder.layer.{i}.norm2.{p}"),
    copy("norm.{p}",                  "layernorm.{p}"),
)
PROJECTION: tuple[Rule, ...] = (
    copy("blocks.{i}.attn.proj.{p}",  "encoder.layer.{i}.attention.output.dense.{p}"),
)
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc1.{p}",    "encoder.layer.{i}.mlp.fc1.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "encoder.layer.{i}.mlp.fc2.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w12.{p}",    "encoder.layer.{i}.mlp.weights_in.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",     "encoder.layer.{i}.mlp.weights_out.{p}"),
)
LAYER_SCALES: tuple[Rule, ...] = (
    copy("blocks.{i}.ls{n}.gamma",    "encoder.layer.{i}.layer_scale{n}.lambda1"),
)
MASK_TOKEN = copy("mask_token",       "embeddings.mask_token")
REGISTERS = copy("register_tokens",   "embeddings.register_tokens")
CLASSIFIER: tuple[Rule, ...] = (
    copy("linear_head.{p}",           "classifier.{p}"),
)
INTERLEAVED_CLASSIFIER: tuple[Rule, ...] = (
    deinterleave("linear.weight",     "classifier.weight"),
    copy("linear.bias",               "classifier.bias"),
)
# fmt: on

POSITIONS = "embeddings.position_embeddings"

NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"
NO_BIAS = "the original has no such bias, and the class no way to leave it out: zeros change nothing"
UNMASKED = "the original has no mask token, and the class no way to leave it out: it is used for training alone"
NO_REGISTERS = "no registers: the class is taken for the way it resamples the position table"

MAX_MLP_RATIO = 64

OPTIONAL_PARTS = ("layer_scale", "proj_bias", "ffn_bias", "mask_token")


def target(model: DinoV2ViT, preprocessing: Preprocessing, choices: Choices) -> Target:
    """The Transformers class for a DINOv2, with its one-layer classifier if it has one."""
    size = input_size(choices, model.image_size, model.patch_size)
    registers = with_registers(model)
    base = "Dinov2WithRegisters" if registers else "Dinov2"
    class_name = f"{base}ForImageClassification" if model.classes else f"{base}Model"
    config: dict[str, object] = {
        "architectures": [class_name],
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        **_sizes(model, size),
        "mlp_ratio": mlp_ratio(model),
        "use_swiglu_ffn": model.feed_forward == "swiglu",
        **({"num_register_tokens": model.registers} if registers else {"use_mask_token": model.mask_token}),
        **(label_fields(model.classes, choices) if model.classes else {}),
        **original_fields("dinov2", without=_left_out(model), baked_from=baked_from(size, model.image_size)),
    }
    positions = position_rule(POSITIONS, size, model.image_size, model.patch_size, model.interpolation)
    return Target(
        class_name=class_name,
        config=config,
        rules=(*rules(model, positions), *DINOV2.drops),
        preprocessing=prepared(preprocessing, processed_size(choices, preprocessing), choices, model.channels),
        image_size=size,
        channels=model.channels,
        baked_from=baked_from(size, model.image_size),
        interpolation=model.interpolation,
        resamples_alike=model.interpolation == (TO_SIZE_ANTIALIASED if registers else TO_SIZE),
    )


def rules(model: DinoV2ViT, positions: Rule) -> tuple[Rule, ...]:
    """The table of one model: copies for what it has, constants for what it lacks and the class wants."""
    feed_forward = SWIGLU if model.feed_forward == "swiglu" else MLP
    backbone = [positions, *SHARED, *(PROJECTION if model.proj_bias else without_bias(PROJECTION))]
    backbone += feed_forward if model.ffn_bias else without_bias(feed_forward)
    backbone += LAYER_SCALES if model.layer_scale else ()
    backbone += [MASK_TOKEN] if model.mask_token else ()
    backbone += [REGISTERS] if model.registers else ()
    backbone += _constants(model)
    if not model.classes:
        return tuple(backbone)
    prefix = "dinov2_with_registers." if with_registers(model) else "dinov2."
    return (*(rule.under(prefix) for rule in backbone), *CLASSIFIER)


def with_registers(model: DinoV2ViT) -> bool:
    """Whether the class with registers is the right one: it also is where the original resamples as it does."""
    return model.registers > 0 or model.interpolation == TO_SIZE_ANTIALIASED


def _constants(model: DinoV2ViT) -> Iterator[Rule]:
    if with_registers(model) and not model.registers:
        yield make("embeddings.register_tokens", zeros(1, 0, model.width), because=NO_REGISTERS)
    if with_registers(model) and not model.mask_token:
        yield make("embeddings.mask_token", zeros(1, model.width), because=UNMASKED)
    for i in range(model.depth):
        layer = f"encoder.layer.{i}"
        if not model.layer_scale:
            yield from _unit_scales(layer, model.width)
        if not model.proj_bias:
            yield make(f"{layer}.attention.output.dense.bias", zeros(model.width), because=NO_BIAS)
        if not model.ffn_bias:
            for name, length in _feed_forward(model):
                yield make(f"{layer}.mlp.{name}.bias", zeros(length), because=NO_BIAS)


def _unit_scales(layer: str, width: int) -> Iterator[Rule]:
    for n in (1, 2):
        yield make(f"{layer}.layer_scale{n}.lambda1", ones(width), because=NO_LAYER_SCALE)


def _feed_forward(model: DinoV2ViT) -> tuple[tuple[str, int], tuple[str, int]]:
    """The two linear layers of the class, by name and number of outputs."""
    if model.feed_forward == "swiglu":
        return ("weights_in", 2 * model.mlp_hidden), ("weights_out", model.width)
    return ("fc1", model.mlp_hidden), ("fc2", model.width)


def _left_out(model: DinoV2ViT) -> list[str]:
    """The parts that this model lacks and the class has: the way back must leave them out again."""
    return [part for part in OPTIONAL_PARTS if not getattr(model, part)]


def _sizes(model: DinoV2ViT | DinoViT, size: int) -> dict[str, object]:
    return {
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.heads,
        "hidden_act": "gelu",
        "layer_norm_eps": model.layer_norm_eps,
        "image_size": size,
        "patch_size": model.patch_size,
        "num_channels": model.channels,
        "qkv_bias": model.qkv_bias,
        "layerscale_value": 1.0,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.02,
    }


def target_for_probe(model: DinoViT, preprocessing: Preprocessing, choices: Choices) -> Target:
    """A DINO ViT with its linear classifier over CLS token and patch mean."""
    if model.probe is None:
        raise ValueError("a DINO ViT without a probe belongs to ViTModel")
    size = input_size(choices, model.image_size, model.patch_size)
    config: dict[str, object] = {
        "architectures": ["Dinov2ForImageClassification"],
        "model_type": "dinov2",
        **_sizes(model, size),
        "mlp_ratio": mlp_ratio(model),
        "use_swiglu_ffn": False,
        "use_mask_token": False,
        **label_fields(model.probe.classes, choices),
        **original_fields("dino", classifier="linear", baked_from=baked_from(size, model.image_size)),
    }
    positions = position_rule(POSITIONS, size, model.image_size, model.patch_size, model.interpolation)
    return Target(
        class_name="Dinov2ForImageClassification",
        config=config,
        rules=(*probe_rules(positions, model.width, model.depth), *DINO.drops),
        preprocessing=prepared(preprocessing, size, choices, model.channels),
        image_size=size,
        channels=model.channels,
        baked_from=baked_from(size, model.image_size),
        interpolation=model.interpolation,
        resamples_alike=model.interpolation == TO_SIZE,
    )


def probe_rules(positions: Rule, width: int, depth: int) -> tuple[Rule, ...]:
    scales = (rule for i in range(depth) for rule in _unit_scales(f"encoder.layer.{i}", width))
    return (
        *(rule.under("dinov2.") for rule in (positions, *SHARED, *PROJECTION, *MLP, *scales)),
        *INTERLEAVED_CLASSIFIER,
    )


def mlp_ratio(model: DinoV2ViT | DinoViT) -> int:
    """The classes know the hidden width by a whole ratio only. Raises SettingError where none gives it.

    For SwiGLU they take two thirds of width × ratio, rounded up to a multiple of 8.
    """
    swiglu = isinstance(model, DinoV2ViT) and model.feed_forward == "swiglu"
    for ratio in range(1, MAX_MLP_RATIO + 1):
        hidden = model.width * ratio
        if (swiglu_hidden(hidden) if swiglu else hidden) == model.mlp_hidden:
            return ratio
    raise SettingError(
        "Dinov2Config cannot express the hidden width of this model's feed-forward layers",
        expected=f"two thirds of a multiple of {model.width}, rounded up to a multiple of 8"
        if swiglu
        else f"a whole multiple of {model.width}",
        found=str(model.mlp_hidden),
        cause="transformers 5 takes mlp_ratio as a whole number only",
        next_step="no class of Transformers fits this model",
    )


def swiglu_hidden(hidden: int) -> int:
    """Source: `SwiGLUFFNFused` in `dinov2/layers/swiglu_ffn.py`, and the classes of Transformers alike."""
    return (int(hidden * 2 / 3) + 7) // 8 * 8
