"""timm's names for DINOv3's ViTs (`checkpoint_filter_fn` in `timm/models/eva.py`).

timm keeps neither periods nor key bias nor mask token: the periods follow from a base that is 100 in all of its
models, keys have no bias in any released model, and the mask token is used for training alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dinoport.codebases.dinov3.heads import assumed_head_dim
from dinoport.codebases.dinov3.vit import FAMILY, hub_entry, read
from dinoport.codebases.shapes import count_blocks
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.mapping.constants import Listed, zeros
from dinoport.mapping.rule import Rule, copy, drop, split_rows
from dinoport.model import Wishes
from dinoport.networks.rotary_vit.rope import UNKNOWN_BASE, powers
from dinoport.tensor import Shape

__all__ = ["FAMILY", "hub_entry", "read", "rules"]

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
BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("blocks.{i}.attn.q_bias", None, "blocks.{i}.attn.v_bias"),
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
    bias = (BIAS,) if "blocks.0.attn.q_bias" in shapes else ()
    feed_forward = SWIGLU if "blocks.0.mlp.fc1_g.weight" in shapes else MLP
    return (*SHARED, *bias, *feed_forward, *_left_out(shapes, wishes, bool(bias)))


def _left_out(shapes: Mapping[str, Shape], wishes: Wishes, bias: bool) -> Iterator[Rule]:
    width = shapes["cls_token"][-1] if shapes.get("cls_token") else 0
    head_dim = assumed_head_dim(width, wishes)
    yield drop("mask_token", because="it is used for training alone", returns=zeros(1, width))
    periods = Listed(tuple(powers(UNKNOWN_BASE, head_dim // 4)), f"the powers of {UNKNOWN_BASE:g}")
    yield drop("rope_embed.periods", because="the base of all of timm's DINOv3 models", returns=periods)
    mask = Listed((1.0,) * width + (0.0,) * width + (1.0,) * width, "thirds of 1, 0 and 1")
    for index in range(min(count_blocks(shapes), MAX_DEPTH) if bias else 0):
        yield drop(f"blocks.{index}.attn.qkv.bias_mask", because="timm has no bias for keys", returns=mask)
