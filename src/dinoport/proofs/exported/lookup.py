"""Tensors looked for by their values: whole, transposed, joined or in part; and what one that fits none is like."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoport.tensor import Array, Shape, TensorRef

MAX_LIKENED = 8
"""Of how many strange matrices it is said what they are like: all of another model's are strange."""


UNLIKE = "holds no weight of the original"


MAX_JOINED = 3
"""How many tensors are looked for one after the other: queries, keys and values."""


@dataclass(frozen=True)
class Known:
    """A tensor of the original, in one of its forms: `parts` are the canonical ones that it is made of."""

    tensor: TensorRef
    parts: tuple[str, ...]


def bare(shape: Shape) -> Shape:
    """A shape without axes of 1, which exporters add and drop."""
    return tuple(size for size in shape if size != 1)


class Lookup:
    """The original's tensors by shape and by their first and last value, in each dtype that is asked for."""

    def __init__(self, known: Sequence[Known]) -> None:
        self._known = [each for each in known if each.tensor.is_float and each.tensor.size]
        self._by_ends: dict[np.dtype[Any], dict[tuple[Any, ...], list[Known]]] = {}

    def has_single(self, tensor: TensorRef) -> bool:
        """Whether a single number is a weight of the model."""
        value = tensor.read().reshape(()).astype(np.float64)
        singles = (each.tensor for each in self._known if each.tensor.size == 1)
        return any(float(each.read().reshape(()).astype(tensor.dtype)) == float(value) for each in singles)

    def find(self, values: Array) -> tuple[tuple[str, ...], bool] | None:
        """The canonical tensors whose values these are, and whether they are so without being rounded."""
        variants = [*_variants(values)]
        for look in (self._whole, self._part, self._joined):  # the last two read more
            for variant in variants:
                match = look(variant)
                if match is not None:
                    return match
        return None

    def _whole(self, values: Array) -> tuple[tuple[str, ...], bool] | None:
        flat = values.reshape(-1)
        table = self._table(values.dtype)
        for each in table.get((bare(values.shape), *_ends(flat)), ()):
            own = _rounded(each.tensor.read(), values.dtype).reshape(-1)
            if _same(own, flat):
                return each.parts, each.tensor.dtype.itemsize <= values.dtype.itemsize
        return None

    def _part(self, values: Array) -> tuple[tuple[str, ...], bool] | None:
        """Some of the rows of a larger one."""
        shape = bare(values.shape)
        for each in self._known if shape else ():
            own = bare(each.tensor.shape)
            if own[1:] != shape[1:] or len(own) != len(shape) or own[0] <= shape[0] or own[0] % shape[0]:
                continue
            for start in range(0, each.tensor.size, values.size):
                if not _same(_first(each.tensor, start, values.dtype), values.reshape(-1)[:1]):
                    continue
                rows = np.concatenate([block.copy() for block in each.tensor.blocks(start, start + values.size)])
                if _same(_rounded(rows, values.dtype), values.reshape(-1)):
                    return each.parts, each.tensor.dtype.itemsize <= values.dtype.itemsize
        return None

    def _joined(self, values: Array) -> tuple[tuple[str, ...], bool] | None:
        """Several, one after the other."""
        rows = values.shape[0] if values.ndim else 0
        for count in range(2, MAX_JOINED + 1):
            if rows < 2 * count or rows % count:
                continue
            matches = [self._whole(part) for part in np.split(values, count)]
            if all(matches):
                parts = [part for match in matches if match for part in match[0]]
                return tuple(dict.fromkeys(parts)), all(match[1] for match in matches if match)
        return None

    def _table(self, dtype: np.dtype[Any]) -> dict[tuple[Any, ...], list[Known]]:
        if dtype not in self._by_ends:
            table: dict[tuple[Any, ...], list[Known]] = {}
            for each in self._known:
                ends = np.concatenate([_first(each.tensor, at, dtype) for at in (0, each.tensor.size - 1)])
                table.setdefault((bare(each.tensor.shape), *_ends(ends)), []).append(each)
            self._by_ends[dtype] = table
        return self._by_ends[dtype]

    def likeness(self, values: Array) -> str:
        """What can be said of values that are nowhere in the original: which tensor they are most like, and how far."""
        best, words = 0.5, UNLIKE
        for variant in _variants(values):
            for each in self._known:
                if bare(each.tensor.shape) != bare(variant.shape):
                    continue
                own = _rounded(each.tensor.read(), values.dtype).reshape(variant.shape[0], -1)
                what = "row" if own.shape[1] > 1 else "value"
                rows = variant.reshape(own.shape)
                alike = (own == rows).all(axis=1)
                if best <= alike.mean() < 1:
                    best = float(alike.mean())
                    wrong = np.flatnonzero(~alike)
                    words = f"is {each.tensor.name} but for {_rows(own, rows, wrong, what)}"
                elif (factor := _factor(own, rows)) is not None and best < 1:
                    best, words = 1, f"is {factor:g} times {each.tensor.name}"
                elif best < 1 and _same_rows(own, rows):
                    best, words = 1, f"is {each.tensor.name} with its {what}s in another order"
        return words


def _rows(own: Array, found: Array, wrong: Array, what: str) -> str:
    """Which rows differ, and how, where that is simple."""
    which = f"{what} {wrong[0]}" if len(wrong) == 1 else f"{len(wrong)} of {len(own)} {what}s"
    if len(wrong) > 1 and _same_rows(own[wrong], found[wrong]):
        return f"{which}, which are in another order"
    factor = _factor(own[wrong], found[wrong])
    return f"{which}, {factor:g} times as large" if factor is not None else which


def _factor(own: Array, found: Array) -> float | None:
    """The number that all values were multiplied by, if one is."""
    wide, others = own.astype(np.float64), found.astype(np.float64)
    at = np.unravel_index(np.abs(wide).argmax(), wide.shape)
    factor = float(others[at] / wide[at]) if wide[at] else 1.0
    near = np.abs(others - factor * wide).max() <= 1e-6 * np.abs(others).max()
    rounded = float(f"{factor:.6g}")
    return rounded if near and rounded not in (0.0, 1.0) else None


def _same_rows(own: Array, found: Array) -> bool:
    return sorted(map(bytes, np.ascontiguousarray(own))) == sorted(map(bytes, np.ascontiguousarray(found)))


def _variants(values: Array) -> Iterator[Array]:
    """As they are, and transposed; without axes of 1."""
    plain = np.ascontiguousarray(values).reshape(bare(values.shape) or (1,))
    yield plain
    if plain.ndim == 2:
        yield np.ascontiguousarray(plain.T)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values).astype(dtype, copy=False)


def _first(tensor: TensorRef, at: int, dtype: np.dtype[Any]) -> Array:
    """One element, as an array."""
    return _rounded(next(iter(tensor.blocks(at, at + 1)))[:1].copy(), dtype)


def _ends(flat: Array) -> tuple[bytes, bytes]:
    return flat[:1].tobytes(), flat[-1:].tobytes()


def _same(own: Array, found: Array) -> bool:
    """Bit for bit."""
    unsigned = np.dtype(f"u{own.dtype.itemsize}")
    return bool(np.array_equal(np.ascontiguousarray(own).view(unsigned), np.ascontiguousarray(found).view(unsigned)))
