"""What exporters compute ahead of several weights, computed again in float64: the file holds it rounded.

A fold is recognised where the file's values are within three units in the last place of it. Then the file's values are
read as the fold itself: the rounding is the exporter's, and no other model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from dinoport.tensor import Array, TensorRef

ULPS = 3
"""How far a file's values may lie from a fold, in units in the last place. A batch norm takes four roundings one after
the other, which reached 2.5 in the convolutions of a ResNet-50 by both of torch's exporters (measured)."""


@dataclass(frozen=True)
class Fold:
    """`values` in float64, computed of the canonical tensors `parts`; `words` say how.

    `rounds` says that more was done than to put rows beside each other, which rounds nothing.
    """

    words: str
    parts: tuple[str, ...]
    values: Array
    rounds: bool = True

    def is_in(self, values: Array) -> bool:
        """Whether a file's values are these."""
        return _near(values, self.values) and (self.rounds or bool((values == self.values.astype(values.dtype)).all()))


@dataclass(frozen=True)
class Folds:
    """Everything that may have been folded of one model's tensors."""

    tensors: Mapping[str, TensorRef]
    architecture: Any

    def find(self, values: Array) -> Fold | None:
        """The fold that a tensor of a file holds, in the file's shape; None where it holds none that is known."""
        for variant, back in _variants(values):
            for fold in self._all(variant):
                return Fold(fold.words, fold.parts, back(fold.values))
        return None

    def _all(self, values: Array) -> Iterator[Fold]:
        yield from self._of_tokens(values)
        yield from self._of_norms(values)
        yield from self._masked(values)
        yield from self._scaled(values)

    def _of_tokens(self, values: Array) -> Iterator[Fold]:
        """Tokens, the first of them with its row of the position table, one after the other; and parts of the table."""
        positions = self.architecture.positions
        width = values.shape[-1]
        tokens = {
            name: self._read(name).reshape(-1, width)
            for name, tensor in self.tensors.items()
            if name != positions and tensor.shape[:1] == (1,) and tensor.shape[-1] == width and len(tensor.shape) > 1
        }
        held = [Fold(name, (name,), value, rounds=False) for name, value in tokens.items()]
        if positions and positions in self.tensors and self.tensors[positions].shape[-1] == width:
            table = self._read(positions).reshape(-1, width)
            held += [
                Fold(f"{one.words} with row 0 of {positions}", (*one.parts, positions), one.values + table[:1])
                for one in held
                if len(one.values) == 1
            ]
            held.append(Fold(f"{positions} without row 0", (positions,), table[1:], rounds=False))
            held.append(Fold(f"row 0 of {positions}", (positions,), table[:1], rounds=False))
        rows = values.reshape(-1, width)
        joined = (
            Fold(
                f"{one.words}, then {other.words}",
                (*one.parts, *other.parts),
                np.concatenate([one.values, other.values]),
            )
            for one, other in permutations(held, 2)
            if len(one.values) + len(other.values) == len(rows)
            and one.is_in(rows[: len(one.values)])
            and other.is_in(rows[len(one.values) :])
        )
        yield from (*(fold for fold in held if fold.is_in(rows)), *joined)

    def _of_norms(self, values: Array) -> Iterator[Fold]:
        """A convolution with the batch norm after it, and the bias of the two."""
        eps = getattr(self.architecture, "batch_norm_eps", None)
        if eps is None:
            return
        for variance in (name for name in self.tensors if name.endswith(".running_var")):
            norm = variance.removesuffix(".running_var")
            if self.tensors[variance].size != values.shape[0]:
                continue
            parts = tuple(f"{norm}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var"))
            weight, bias, mean, deviation = map(self._read, parts)
            scale = weight / np.sqrt(deviation + eps)
            if values.ndim == 1:
                if _near(values, bias - mean * scale, np.maximum(np.abs(bias), np.abs(mean * scale))):
                    yield Fold(f"the bias of {norm}", parts, bias - mean * scale)
                continue
            for name, tensor in self.tensors.items():
                if tuple(size for size in tensor.shape if size != 1) == values.shape and name.endswith(".weight"):
                    first = next(iter(tensor.blocks(0, 1)))[:1].astype(np.float64) * scale[:1]
                    if _near(values.reshape(-1)[:1], first):
                        folded = self._read(name).reshape(values.shape) * scale.reshape(-1, *[1] * (values.ndim - 1))
                        if _near(values, folded):
                            yield Fold(f"{name} with {norm}", (name, *parts), folded)

    def _masked(self, values: Array) -> Iterator[Fold]:
        """The joint bias of attention with zeros for the keys, which the mask beside it says."""
        for mask in (name for name in self.tensors if name.endswith(".bias_mask")):
            name = mask.removesuffix("_mask")
            if values.shape == self.tensors[mask].shape and name in self.tensors:
                kept = np.where(self._read(mask) == 1, self._read(name), 0.0)
                fold = Fold(f"{name} with {mask}", (name, mask), kept, rounds=False)
                yield from [fold] if fold.is_in(values) else []

    def _scaled(self, values: Array) -> Iterator[Fold]:
        """A layer with the scale after it, or with the root of the head's width that attention is scaled by."""
        heads = getattr(self.architecture, "heads", None)
        roots = [(self.architecture.width // heads) ** -power for power in (0.5, 0.25)] if heads else []
        for name, tensor in self.tensors.items():
            joint = tensor.shape[0] // values.shape[0] if tensor.shape and values.shape[0] else 0
            whole = joint in (1, 3) and tensor.shape[0] == joint * values.shape[0]
            if not whole or tensor.shape[1:] != values.shape[1:] or not name.endswith((".weight", ".bias")):
                continue
            for part in np.split(self._read(name), joint):
                for root in roots:
                    if _near(values.reshape(-1)[:1], part.reshape(-1)[:1] * root) and _near(values, part * root):
                        yield Fold(f"{name} times {root:.6g}", (name,), part * root)
                for other in self._scales(len(part)) if joint == 1 else ():
                    scale = self._read(other)
                    if _near(values.reshape(-1)[:1], part.reshape(-1)[:1] * scale[:1]):
                        folded = part * scale.reshape(-1, *[1] * (part.ndim - 1))
                        if _near(values, folded):
                            yield Fold(f"{name} with {other}", (name, other), folded)

    def _scales(self, length: int) -> Iterator[str]:
        return (name for name, each in self.tensors.items() if name.endswith(".gamma") and each.shape == (length,))

    def _read(self, name: str) -> Array:
        return self.tensors[name].read(np.dtype(np.float64))


def _near(values: Array, fold: Array, magnitude: Array | None = None) -> bool:
    """Whether values are a fold, as far as rounding lets them be: `magnitude` is that of what it was added of."""
    if values.shape != fold.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(fold if magnitude is None else magnitude).astype(values.dtype)
        away = np.abs(values.astype(np.float64) - fold)
        return bool((away <= ULPS * np.spacing(np.maximum(size, np.finfo(values.dtype).tiny))).all())


def _variants(values: Array) -> Iterator[tuple[Array, Any]]:
    """As they are and transposed, without axes of 1; and how a fold of that shape becomes one of the file's."""
    bare = tuple(size for size in values.shape if size != 1) or (1,)
    flat = values.reshape(bare)
    yield flat, lambda fold: fold.reshape(values.shape)
    if len(bare) in (2, 3):  # a table of positions may lie as a picture: width, rows, columns
        turned = np.ascontiguousarray(flat.reshape(bare[0], -1).T)
        yield turned, lambda fold: fold.reshape(turned.shape).T.reshape(values.shape)
