"""Attention weights that look trained: inside a head the channels share directions, between heads they do not."""

from typing import Any

import numpy as np

from dinoport.networks.heads.channels import AttentionWeights
from dinoport.tensor import ArrayValues, TensorRef

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[Array, Array]
"""W_v and W_o of one layer, (out, in) each."""


def trained(width: int, heads: int, layers: int = 3, *, share: float = 0.5, seed: int = 0) -> list[Pair]:
    """`share` is how much of a channel lies in its head's own four directions, which W_v and W_o have in common."""
    rng = np.random.default_rng([width, heads, seed])
    pairs = []
    for _ in range(layers):
        own = rng.normal(size=(heads, 4, width))
        sides = []
        for _ in range(2):
            mixed = np.einsum("hcr,hrf->hcf", rng.normal(size=(heads, width // heads, 4)), own)
            sides.append(rng.normal(size=(width, width)) + share * mixed.reshape(width, width))
        pairs.append((sides[0] / width**0.5, sides[1].T / width**0.5))
    return pairs


def untrained(width: int, layers: int, kind: str, seed: int) -> list[Pair]:
    """As the usual initialisations leave them."""
    rng = np.random.default_rng([width, seed])
    draw = {
        "normal": lambda: rng.normal(size=(width, width)) * 0.02,
        "uniform": lambda: rng.uniform(-1, 1, size=(width, width)) * width**-0.5,
        "orthogonal": lambda: np.linalg.qr(rng.normal(size=(width, width)))[0],
    }[kind]
    return [(draw(), draw()) for _ in range(layers)]


def weights(pairs: list[Pair], dtype: Any = np.float32) -> list[AttentionWeights]:
    return [AttentionWeights(reference(values, dtype), reference(outputs, dtype)) for values, outputs in pairs]


def joined(pairs: list[Pair]) -> list[AttentionWeights]:
    """The same as one matrix of queries, keys and values; the first two are another model's."""
    others = [
        np.random.default_rng(number).normal(size=(2 * len(values), len(values)))
        for number, (values, _) in enumerate(pairs)
    ]
    return [
        AttentionWeights(reference(np.concatenate([other, values])), reference(outputs), 2 * len(values))
        for other, (values, outputs) in zip(others, pairs, strict=True)
    ]


def reference(array: Array, dtype: Any = np.float32) -> TensorRef:
    own = array.astype(dtype)
    return TensorRef("weight", own.dtype, own.shape, ArrayValues(own))
