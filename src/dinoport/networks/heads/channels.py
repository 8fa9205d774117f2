"""The channels of one attention layer: what W_v writes into each, and what W_o reads from it.

Only these two matrices are read. No rotary embedding acts on them, and their channels are in the order of the heads.
"""

from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import NamedTuple

import numpy as np

from dinoport.tensor import Array, TensorRef

MAX_INPUTS = 256
"""So many features, evenly spaced, are enough to compare two channels by. With 128, 256, 512 and all of them the same
19 of 24 trained models are named; from 256 to all, boundaries grow by a tenth at 384 channels and the time doubles."""


class AttentionWeights(NamedTuple):
    """W_v as the rows of `values` from `first` on, and W_o as the columns of `projection`.

    `first` is 0 for a W_v of its own and twice the width for the fused weights of queries, keys and values.
    """

    values: TensorRef
    projection: TensorRef
    first: int = 0


def attention_weights(tensors: Mapping[str, TensorRef], width: int) -> tuple[AttentionWeights, ...]:
    """The layers under canonical names, which join queries, keys and values. One of other shapes is left out."""
    names = takewhile(lambda layer: f"{layer}.qkv.weight" in tensors, (f"blocks.{index}.attn" for index in count()))
    pairs = ((tensors[f"{layer}.qkv.weight"], tensors.get(f"{layer}.proj.weight")) for layer in names)
    return tuple(
        AttentionWeights(fused, projection, 2 * width)
        for fused, projection in pairs
        if projection is not None and fused.is_float and projection.is_float
        if fused.shape == (3 * width, width) and projection.shape == (width, width)
    )


class Channels(NamedTuple):
    """One row for each channel: its direction among sampled features, in unit length, and its norm over all."""

    directions: Array
    norms: Array


def value_channels(layer: AttentionWeights, width: int) -> Channels | None:
    """The rows of W_v; None where a value is not finite."""
    features = layer.values.shape[1]
    first = layer.first * features
    blocks = layer.values.blocks(first, first + width * features, features)
    step = _step(features)
    sampled = np.empty((width, len(range(0, features, step))))
    squares = np.empty(width)
    for start, rows in _matrices(blocks, features):
        sampled[start : start + len(rows)] = rows[:, ::step]
        squares[start : start + len(rows)] = np.einsum("ij,ij->i", rows, rows)
    return _channels(sampled, squares)


def projection_channels(layer: AttentionWeights, width: int) -> Channels | None:
    """The columns of W_o; None where a value is not finite."""
    features = layer.projection.shape[0]
    step = _step(features)
    sampled = np.empty((len(range(0, features, step)), width))
    squares = np.zeros(width)
    for start, rows in _matrices(layer.projection.blocks(granule=width), width):
        chosen = range(-start % step, len(rows), step)
        sampled[(start + chosen.start) // step :][: len(chosen)] = rows[chosen.start :: step]
        squares += np.einsum("ij,ij->j", rows, rows)
    return _channels(sampled.T, squares)


def _step(features: int) -> int:
    return -(-features // MAX_INPUTS)


def _matrices(blocks: Iterator[Array], columns: int) -> Iterator[tuple[int, Array]]:
    """Blocks of whole rows, with the number of their first."""
    start = 0
    for block in blocks:
        with np.errstate(invalid="ignore", over="ignore"):
            rows = block.reshape(-1, columns).astype(np.float64)
        yield start, rows
        start += len(rows)


def _channels(sampled: Array, squares: Array) -> Channels | None:
    if not np.isfinite(squares).all():
        return None
    lengths = np.sqrt(np.einsum("ij,ij->i", sampled, sampled))
    directions = sampled / np.where(lengths > 0, lengths, 1.0)[:, None]
    return Channels(directions.astype(np.float32), np.sqrt(squares))
