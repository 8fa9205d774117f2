"""How far outputs are apart, relative to the largest value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoport.networks.observing import CLS_AND_PATCHES, PATCHES


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference of one output, and that relative to the output's largest value."""

    absolute: float
    relative: float

    @classmethod
    def between(cls, ours: Any, theirs: Any) -> Difference:
        """Compare two torch tensors; tensors of other shapes, or not finite in other places, differ without limit."""
        if ours.shape != theirs.shape:
            return cls(float("inf"), float("inf"))
        absolute = float((ours - theirs).abs().max())
        if not np.isfinite(absolute):
            finite = ours.isfinite()
            if finite.all() or (finite != theirs.isfinite()).any():
                return cls(float("inf"), float("inf"))
            return cls.between(ours[finite], theirs[finite]) if finite.any() else cls(0.0, 0.0)
        return cls(absolute, absolute / max(float(ours.abs().max()), np.finfo(np.float64).tiny))


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Difference]:
    """Differences of every output that both sides have; the CLS token stands for a pooled output that ours lacks."""
    differences = {}
    for name, output in theirs.items():
        own = _part(ours, name, output)
        if own is None and name == "pooled":
            differences[name] = _compare_pooled(ours["tokens"][:, 0], output)
        else:
            infinite = Difference(float("inf"), float("inf"))
            differences[name] = infinite if own is None else Difference.between(own, output)
    return differences


def _part(ours: Mapping[str, Any], name: str, output: Any) -> Any:
    """What the network gives under a name; of its tokens, what others give alone: patches, also laid out as a map."""
    tokens = ours.get("tokens")
    if name in ours or tokens is None:
        return ours.get(name)
    if name == PATCHES:
        return tokens[:, -output.shape[1] :]
    if name == CLS_AND_PATCHES:
        return tokens[:, [0, *range(tokens.shape[1] - output.shape[1] + 1, tokens.shape[1])]]
    if name == "feature_map" and output.shape[1] == tokens.shape[2]:
        count = output.shape[-2] * output.shape[-1]
        return tokens[:, -count:].transpose(1, 2).reshape(output.shape) if count < tokens.shape[1] else None
    return None


def _compare_pooled(tokens: Any, pooled: Any) -> Difference:
    """Of the CLS tokens that are finite: in others an identity matrix makes NaN of every value."""
    finite = tokens.isfinite().all(-1)
    if tokens.shape != pooled.shape or finite.all():
        return Difference.between(tokens, pooled)
    return Difference.between(tokens[finite], pooled[finite]) if finite.any() else Difference(0.0, 0.0)


def largest(differences: Mapping[str, Difference]) -> Difference:
    return max(differences.values(), key=lambda difference: difference.relative)
