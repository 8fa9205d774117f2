"""The forward pass of facebookresearch/dinov3's ViT (`dinov3/models/vision_transformer.py`), under its tensor names.

Written anew; imported only to verify.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import pi
from typing import TypeAlias

import torch
from torch.nn import functional

from dinoport.networks.layers import (
    State,
    as_tokens,
    cls_attention,
    layer_norm,
    logits_of,
    patch_map,
    split_heads,
    vit_block,
)
from dinoport.networks.observing import EMBEDDING, Observer, ignore
from dinoport.networks.rotary_vit.architecture import PERIODS, RotaryViT

Rotation: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Sines and cosines, (patches, head dimension) each."""


def forward(
    state: State,
    architecture: RotaryViT,
    pixels: torch.Tensor,
    observe: Observer = ignore,
    *,
    rope_dtype: torch.dtype = torch.float32,
    rotation_dtype: torch.dtype | None = None,
    rotation: Rotation | None = None,
    others: Sequence[Rotation] = (),
) -> dict[str, torch.Tensor]:
    """`tokens` (batch, 1 + registers + patches, width), after the final norm, and `logits` (batch, classes).

    Tokens are CLS, registers ("storage tokens"), patches row by row. `state` holds the original names without
    prefixes; pixels and tensors are of one dtype, and so is the result. Logits are left out without a classifier.

    Rotary angles come from `rope_embed.periods`, or from the architecture's `rope_theta` if the state has none, and
    are computed in `rope_dtype`. Queries and keys are rotated in `rotation_dtype`, by default their own, as
    Transformers does; upstream rotates in `rope_dtype`, which makes a difference where that is bfloat16. `rotation`
    takes the place of all that. With each of the `others` the same pictures are computed once more, in one sweep over
    the weights: all outputs, and all that is observed, have them as further rows of the batch.
    """
    patches = patch_map(state, pixels, architecture.patch_size)
    rotation = rotation or _rotation(_periods(state, architecture, rope_dtype), *patches.shape[-2:])
    rotation_dtype = rotation_dtype or pixels.dtype
    sines, cosines = (angles.to(rotation_dtype) for angles in rotation)
    rotations = ((sines, cosines), *others)
    tokens = _embed(state, architecture, as_tokens(patches)).repeat(len(rotations), 1, 1)
    observe(EMBEDDING, tokens)
    project = partial(_queries_keys_values, state, architecture.heads, rotations)
    for index in range(architecture.depth):
        tokens = vit_block(state, architecture, f"blocks.{index}", tokens, project)
        observe(f"blocks.{index}", tokens)
    tokens = layer_norm(state, "norm", tokens, architecture.layer_norm_eps)
    return {"tokens": tokens, **logits_of(state, architecture, tokens)}


def last_attention(
    state: State, architecture: RotaryViT, blocks: Mapping[str, torch.Tensor], rotation: Rotation
) -> torch.Tensor:
    """How much the CLS token attends to every token in the last block: (batch, heads, tokens)."""
    project = partial(_queries_keys_values, state, architecture.heads, [rotation])
    return cls_attention(state, architecture, blocks, project)


def _embed(state: State, architecture: RotaryViT, patches: torch.Tensor) -> torch.Tensor:
    prefix = [state["cls_token"]]
    if architecture.registers:
        prefix.append(state["storage_tokens"])
    return torch.cat([*(token.expand(len(patches), -1, -1) for token in prefix), patches], dim=1)


def _periods(state: State, architecture: RotaryViT, dtype: torch.dtype) -> torch.Tensor:
    """One period, in units of half the picture's side, for each pair of dimensions of one axis."""
    stored = state.get(PERIODS)
    if stored is not None:
        return stored.to(dtype)
    count = architecture.head_dim // 4
    exponents: torch.Tensor = torch.arange(count, dtype=dtype) * 2 / (architecture.head_dim // 2)
    return torch.pow(architecture.rope_theta, exponents)


def rotation_of_state(state: State, architecture: RotaryViT, rows: int, columns: int, dtype: torch.dtype) -> Rotation:
    """Sines and cosines in `dtype` for the periods that the state holds."""
    return _rotation(_periods(state, architecture, dtype), rows, columns)


def rotation_of_base(architecture: RotaryViT, rows: int, columns: int) -> Rotation:
    """Sines and cosines in float64 for the architecture's base, whatever periods a checkpoint holds."""
    return _rotation(_periods({}, architecture, torch.float64), rows, columns)


def _rotation(periods: torch.Tensor, rows: int, columns: int) -> Rotation:
    """Patch centres lie in [-1, 1] along each axis; the row's angles come first, and both repeat for the other half.

    Source: `dinov3/layers/rope_position_encoding.py` with coordinates normalised per axis.
    """
    centres = [2 * (torch.arange(0.5, side, dtype=periods.dtype) / side) - 1 for side in (rows, columns)]
    coordinates = torch.cartesian_prod(*centres)
    angles = (2 * pi * coordinates[:, :, None] / periods).flatten(1).tile(2)
    return angles.sin(), angles.cos()


def _queries_keys_values(
    state: State, heads: int, rotations: Sequence[Rotation], name: str, inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What attention is computed of, each (batch, heads, tokens, head dimension), rotated where it is.

    The batch is parted evenly among the rotations.
    """
    bias, mask = state.get(f"{name}.qkv.bias"), state.get(f"{name}.qkv.bias_mask")
    if bias is not None and mask is not None:
        bias = bias * mask.to(bias.dtype)
    queries, keys, values = split_heads(functional.linear(inputs, state[f"{name}.qkv.weight"], bias), heads)
    return _rotate_each(queries, rotations), _rotate_each(keys, rotations), values


def _rotate_each(vectors: torch.Tensor, rotations: Sequence[Rotation]) -> torch.Tensor:
    parts = vectors.chunk(len(rotations))
    return torch.cat([_rotate(part, rotation) for part, rotation in zip(parts, rotations, strict=True)])


def _rotate(vectors: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotate the patches, which come last; CLS token and registers have no position, but are rounded alike."""
    sines, cosines = rotation
    rounded, prefix = vectors.to(sines.dtype), vectors.shape[-2] - len(sines)
    fixed, moving = rounded[:, :, :prefix], rounded[:, :, prefix:]
    first, second = moving.chunk(2, dim=-1)
    moved = moving * cosines + torch.cat([-second, first], dim=-1) * sines
    return torch.cat([fixed, moved], dim=-2).to(vectors.dtype)
