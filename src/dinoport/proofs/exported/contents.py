"""The exact proof of a graph: every tensor in it is looked up by content among those of the original.

An exporter keeps no names that one could rely on. So a tensor of the file is *found* where it is bit for bit one of
the original's, in the form of any codebase, plain or transposed, whole, a part of its rows, or several one after the
other; it is *folded* where it is computed of several by a step that exporters are known to take ahead (`folds`). What
has a weight's shape and is neither is another model's, however little outputs move by it: a matrix, and a bias, a
norm's weight, a scale or a token too. Coordinates of patches, which step evenly, are none of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dinoport.files.census import take_census
from dinoport.proofs.exact import ExactProof
from dinoport.proofs.exported.folds import Fold, folds_of
from dinoport.tensor import Array, Shape, TensorRef, is_matrix, shape_text

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


@dataclass(frozen=True)
class Contents:
    """What became of every tensor of the file that holds floats, by its name there.

    `found` leads to the canonical tensors that it holds, `folded` to what it was computed of. `tables` are those of
    positions, which are compared by themselves. `remaining` are neither, and no weights by their shape. `missing` are
    the canonical tensors that the file does not hold as they are. `rounded` are found after rounding to the file's
    dtype; `unrounded` are the canonical tensors that none of those is a part of.
    """

    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folded: Mapping[str, Fold] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    rounded: int = 0
    compared_bytes: int = 0
    nonfinite: Mapping[str, int] = field(default_factory=dict)
    matrices: int = 0
    zero_matrices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    unrounded: frozenset[str] = frozenset()

    @property
    def proof(self) -> ExactProof:
        return ExactProof(
            found=len(self.found) - self.rounded,
            recomputed=self.rounded + len(self.folded),
            dropped=len(self.missing),
            compared_bytes=self.compared_bytes,
            nonfinite=self.nonfinite,
            matrices=self.matrices,
            zero_matrices=self.zero_matrices,
            problems=self.problems,
        )


def look_up(
    constants: Mapping[str, TensorRef], known: Sequence[Known], architecture: Any, tables: Iterable[str] = ()
) -> Contents:
    """Look every tensor of a file up. `known` are the original's in all their forms, `tables` those of positions."""
    lookup = _Lookup(known)
    canonical = {each.tensor.name: each.tensor for each in known if each.parts == (each.tensor.name,)}
    shapes = set(_shapes_of_weights(known))
    found: dict[str, tuple[str, ...]] = {}
    folded: dict[str, Fold] = {}
    zero: list[str] = []
    nonfinite: dict[str, int] = {}
    problems: list[str] = []
    remaining: list[str] = []
    rounded = compared = matrices = 0
    narrowed: set[str] = set()
    folds, rotates = None, bool(architecture.network.rotation)
    for name, tensor in constants.items():
        if not tensor.is_float or name in tables or (tensor.size == 1 and not lookup.has_single(tensor)):
            continue
        values = tensor.read()
        compared += tensor.size_bytes
        match = lookup.find(values)
        if match is None and not _is_even(values):
            folds = folds if folds is not None else folds_of(canonical, architecture)
            fold = folds.find(values)
            if fold is not None:
                folded[name] = fold
            elif _bare(tensor.shape) in shapes and not (rotates and _steps_evenly(values)):
                likeness = lookup.likeness(values) if len(problems) < MAX_LIKENED else UNLIKE
                problems.append(f"{name} {shape_text(tensor.shape)} {likeness}")
            else:
                remaining.append(f"{name} {shape_text(tensor.shape)}")
            continue
        if match is None:
            continue
        parts, exact = match
        found[name] = parts
        rounded += not exact
        narrowed |= set() if exact else set(parts)
        census = take_census(np.ascontiguousarray(values).reshape(-1))
        if census.nonfinite:
            nonfinite[name] = census.nonfinite
        if is_matrix(tensor.shape):
            matrices += 1
            zero += [name] if census.all_zero else []
    held = {part for parts in found.values() for part in parts} | {p for fold in folded.values() for p in fold.parts}
    return Contents(
        found=found,
        folded=folded,
        tables=tuple(tables),
        remaining=tuple(remaining),
        missing=tuple(name for name, tensor in canonical.items() if name not in held and tensor.is_float),
        rounded=rounded,
        compared_bytes=compared,
        nonfinite=nonfinite,
        matrices=matrices,
        zero_matrices=tuple(zero),
        problems=tuple(problems),
        unrounded=frozenset(held - narrowed),
    )


def _shapes_of_weights(known: Sequence[Known]) -> Iterator[Shape]:
    """The shapes, without axes of 1, of all that is not a single number; of vectors those of a half and a third too."""
    for each in known:
        shape = _bare(each.tensor.shape) if each.tensor.is_float else ()
        if len(shape) == 1:
            yield from ((shape[0] // parts,) for parts in (1, 2, 3) if shape[0] % parts == 0 and shape[0] > parts)
        elif shape:
            yield from (shape, shape[::-1]) if len(shape) == 2 else (shape,)


def _steps_evenly(values: Array) -> bool:
    """Whether numbers go up or down by one step, as the coordinates of rows and columns do."""
    steps = np.diff(values.reshape(-1).astype(np.float64))
    return bool(steps.size > 1 and np.abs(steps - steps[0]).max() <= 1e-5 * np.abs(steps[0]))


def _is_even(values: Array) -> bool:
    """Whether all values are one: a mask that masks nothing, ones, zeros. Exporters make such of nothing."""
    flat = values.reshape(-1)
    return bool(flat.size == 0 or (flat == flat[0]).all())


def _bare(shape: Shape) -> Shape:
    """A shape without axes of 1, which exporters add and drop."""
    return tuple(size for size in shape if size != 1)


class _Lookup:
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
        for each in table.get((_bare(values.shape), *_ends(flat)), ()):
            own = _rounded(each.tensor.read(), values.dtype).reshape(-1)
            if _same(own, flat):
                return each.parts, each.tensor.dtype.itemsize <= values.dtype.itemsize
        return None

    def _part(self, values: Array) -> tuple[tuple[str, ...], bool] | None:
        """Some of the rows of a larger one."""
        shape = _bare(values.shape)
        for each in self._known if shape else ():
            own = _bare(each.tensor.shape)
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
                table.setdefault((_bare(each.tensor.shape), *_ends(ends)), []).append(each)
            self._by_ends[dtype] = table
        return self._by_ends[dtype]

    def likeness(self, values: Array) -> str:
        """What can be said of values that are nowhere in the original: which tensor they are most like, and how far."""
        best, words = 0.5, UNLIKE
        for variant in _variants(values):
            for each in self._known:
                if _bare(each.tensor.shape) != _bare(variant.shape):
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
    bare = np.ascontiguousarray(values).reshape(_bare(values.shape) or (1,))
    yield bare
    if bare.ndim == 2:
        yield np.ascontiguousarray(bare.T)


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
