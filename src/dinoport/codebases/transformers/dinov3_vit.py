"""DINOv3ViTModel: the home of DINOv3's ViTs.

The class computes its rotary periods from a base, has no place for a key bias that is masked away, and always has
register tokens, if none of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dinoport.codebases.dinov3.vit import FAMILY, PERIODS
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.transformers.common import input_size, original_fields, prepared
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.mapping.constants import Listed, ones, zeros
from dinoport.mapping.rule import Rule, add_axis, copy, drop, make, split_rows
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.networks.rotary_vit.rope import powers
from dinoport.tensor import BFLOAT16

MASKED = "the mask beside it switches the keys' bias off; the class has no place for one"

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    add_axis("mask_token",            "embeddings.mask_token"),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.{p}"),
    copy("blocks.{i}.norm1.{p}",      "layer.{i}.norm1.{p}"),
    split_rows("blocks.{i}.attn.qkv.weight", ("layer.{i}.attention.q_proj.weight",
                                              "layer.{i}.attention.k_proj.weight",
                                              "layer.{i}.attention.v_proj.weight")),
    copy("blocks.{i}.attn.proj.{p}",  "layer.{i}.attention.o_proj.{p}"),
    copy("blocks.{i}.norm2.{p}",      "layer.{i}.norm2.{p}"),
    copy("norm.{p}",                  "norm.{p}"),
)
LIVE_KEY_BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("layer.{i}.attention.q_proj.bias",
                                                        "layer.{i}.attention.k_proj.bias",
                                                        "layer.{i}.attention.v_proj.bias"))
MASKED_KEY_BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("layer.{i}.attention.q_proj.bias",
                                                          None,
                                                          "layer.{i}.attention.v_proj.bias"), because=MASKED)
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc1.{p}",    "layer.{i}.mlp.up_proj.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "layer.{i}.mlp.down_proj.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w1.{p}",     "layer.{i}.mlp.gate_proj.{p}"),
    copy("blocks.{i}.mlp.w2.{p}",     "layer.{i}.mlp.up_proj.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",     "layer.{i}.mlp.down_proj.{p}"),
)
LAYER_SCALES: tuple[Rule, ...] = (
    copy("blocks.{i}.ls{n}.gamma",    "layer.{i}.layer_scale{n}.lambda1"),
)
REGISTERS = copy("storage_tokens",    "embeddings.register_tokens")
# fmt: on

NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"
NO_REGISTERS = "the original has no storage tokens: an empty tensor keeps the class from missing them"
COMPUTED = "the class computes them from its base"
IN_CONFIG = "the config says it: key_bias"
UNUSED = "a norm for the local crops of training; evaluation never uses it"


def target(model: DinoV3ViT, preprocessing: Preprocessing, choices: Choices) -> Target:
    """The Transformers class for a DINOv3 ViT."""
    size = input_size(choices, model.image_size, model.patch_size)
    config: dict[str, object] = {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "hidden_size": model.width,
        "intermediate_size": model.mlp_hidden,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.heads,
        "hidden_act": "silu" if model.feed_forward == "swiglu" else "gelu",
        "use_gated_mlp": model.feed_forward == "swiglu",
        "layer_norm_eps": model.layer_norm_eps,
        "image_size": size,
        "patch_size": model.patch_size,
        "num_channels": model.channels,
        "num_register_tokens": model.registers,
        "query_bias": model.qkv_bias,
        "key_bias": model.key_bias,
        "value_bias": model.qkv_bias,
        "proj_bias": model.proj_bias,
        "mlp_bias": model.ffn_bias,
        "rope_theta": float(model.rope_theta),
        "layerscale_value": 1.0,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.02,
        **original_fields(
            "dinov3",
            without=[] if model.layer_scale else ["layer_scale"],
            open_key_mask=model.live_key_bias,
            rounded_periods=model.rope_rounded,
        ),
    }
    return Target(
        class_name="DINOv3ViTModel",
        config=config,
        rules=(*rules(model), *FAMILY.drops),
        preprocessing=prepared(preprocessing, size, choices, model.channels),
        image_size=size,
        channels=model.channels,
        resamples_alike=True,
    )


def rules(model: DinoV3ViT) -> tuple[Rule, ...]:
    """The table of one model: copies for what it has, constants for what it lacks and the class wants."""
    found = [*SHARED, *(SWIGLU if model.feed_forward == "swiglu" else MLP)]
    if model.qkv_bias:
        found.append(LIVE_KEY_BIAS if model.key_bias else MASKED_KEY_BIAS)
    found += LAYER_SCALES if model.layer_scale else ()
    found += [REGISTERS] if model.registers else ()
    return (*found, *_constants(model), *_buffers(model), drop("local_cls_norm.{p}", because=UNUSED))


def _constants(model: DinoV3ViT) -> Iterator[Rule]:
    if not model.registers:
        yield make("embeddings.register_tokens", zeros(1, 0, model.width), because=NO_REGISTERS)
    for i in range(0 if model.layer_scale else model.depth):
        for n in (1, 2):
            yield make(f"layer.{i}.layer_scale{n}.lambda1", ones(model.width), because=NO_LAYER_SCALE)


def _buffers(model: DinoV3ViT) -> Iterator[Rule]:
    """What the class has no tensor for and the original keeps as buffers: they return as what they follow from."""
    values = powers(model.rope_theta, model.head_dim // 4)
    words = f"the powers of {model.rope_theta:g}"
    if model.rope_rounded:
        values, words = values.astype(BFLOAT16).astype(np.float64), f"{words}, rounded to bfloat16"
    periods = Listed(tuple(values), words)
    yield drop(PERIODS, because=COMPUTED, returns=periods)
    if model.qkv_bias and model.key_bias_mask:
        thirds = (1.0, 1.0 if model.live_key_bias else 0.0, 1.0)
        mask = Listed(tuple(value for value in thirds for _ in range(model.width)), f"thirds of {thirds}")
        for i in range(model.depth):
            yield drop(f"blocks.{i}.attn.qkv.bias_mask", because=IN_CONFIG, returns=mask)
