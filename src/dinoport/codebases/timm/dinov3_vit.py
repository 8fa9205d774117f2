"""timm's names for DINOv3's ViTs (`checkpoint_filter_fn` in `timm/models/eva.py`).

timm keeps neither periods nor mask nor mask token: the periods follow from a base that is 100 in all of its own models,
keys have no bias in any released model, and the mask token is used for training alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dinoport.codebases.dinov3 import vit
from dinoport.codebases.dinov3.periods import assumed_head_dim
from dinoport.codebases.names import Names
from dinoport.codebases.shapes import count_blocks
from dinoport.codebases.timm.biases import lacking, made
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.mapping.constants import Listed, zeros
from dinoport.mapping.rule import Rule, copy, drop, split_rows, without_bias
from dinoport.model import Wishes
from dinoport.networks.rotary_vit.rope import UNKNOWN_BASE, powers
from dinoport.tensor import BFLOAT16, Shape

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                  "cls_token"),
    copy("storage_tokens",             "reg_token"),
    copy("patch_embed.proj.{p}",       "patch_embed.proj.{p}"),
    copy("blocks.{i}.norm{n}.{p}",     "blocks.{i}.norm{n}.{p}"),
    copy("blocks.{i}.attn.qkv.weight", "blocks.{i}.attn.qkv.weight"),
    copy("blocks.{i}.attn.proj.{p}",   "blocks.{i}.attn.proj.{p}"),
    copy("blocks.{i}.ls{n}.gamma",     "blocks.{i}.gamma_{n}"),
    copy("norm.{p}",                   "norm.{p}"),
)
BIAS = copy("blocks.{i}.attn.qkv.bias", "blocks.{i}.attn.qkv.bias")
MASKED_BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("blocks.{i}.attn.q_bias", None, "blocks.{i}.attn.v_bias"),
                         because="timm has no bias for keys")
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc{n}.{p}",   "blocks.{i}.mlp.fc{n}.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w1.{p}",      "blocks.{i}.mlp.fc1_g.{p}"),
    copy("blocks.{i}.mlp.w2.{p}",      "blocks.{i}.mlp.fc1_x.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",      "blocks.{i}.mlp.fc2.{p}"),
)
# fmt: on


def rules(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    """Raises SettingError where the number of heads does not follow from the width."""
    bias = "masked" if "blocks.0.attn.q_bias" in shapes else "whole" if "blocks.0.attn.qkv.bias" in shapes else None
    width = shapes["cls_token"][-1] if shapes.get("cls_token") else 0
    depth = min(count_blocks(shapes), MAX_DEPTH)
    base = wishes.rope_theta or UNKNOWN_BASE
    record = wishes.record
    mask = "keys" if bias == "masked" else "open" if bias and record.get("open_key_mask") is True else None
    rounded = record.get("rounded_periods") is True
    dropped = left_out(width, depth, assumed_head_dim(width, wishes), base, rounded=rounded, mask=mask)
    head = (copy("classifier.{p}", "head.{p}"),) if record.get("classifier") else ()
    bare = lacking(record.get("without"))
    own = without_bias(table("blocks.0.mlp.fc1_g.weight" in shapes, bias), bare)
    return (*own, *dropped, *head, *made(shapes, bare))


def table(gated: bool, bias: str | None) -> tuple[Rule, ...]:
    """The table of a backbone whose qkv layers have a bias for all three, for all but keys, or none."""
    biases = () if bias is None else (MASKED_BIAS if bias == "masked" else BIAS,)
    return (*SHARED, *biases, *(SWIGLU if gated else MLP))


def left_out(
    width: int, depth: int, head_dim: int, base: float, *, rounded: bool = False, mask: str | None = None
) -> Iterator[Rule]:
    """What timm keeps no place for, with what it returns as. `mask` is of the keys, or one that is open."""
    yield drop("mask_token", because="it is used for training alone", returns=zeros(1, width))
    values, words = powers(base, head_dim // 4), f"the powers of {base:g}"
    if rounded:
        values, words = values.astype(BFLOAT16).astype(np.float64), f"{words}, rounded to bfloat16"
    because = "timm computes them from its base"
    yield drop("rope_embed.periods", because=because, returns=Listed(tuple(values), words))
    if mask is None:
        return
    thirds = (1.0, 1.0 if mask == "open" else 0.0, 1.0)
    values_of_mask = Listed(tuple(value for value in thirds for _ in range(width)), f"thirds of {thirds}")
    for index in range(depth):
        yield drop(f"blocks.{index}.attn.qkv.bias_mask", because="timm has no bias for keys", returns=values_of_mask)


NAMES = Names(vit, rules)
