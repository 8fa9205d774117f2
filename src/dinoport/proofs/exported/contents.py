"""The exact proof of a graph: every tensor in it is looked up by content among those of the original.

An exporter keeps no names that one could rely on. So a tensor of the file is *found* where it is bit for bit one of
the original's, in the form of any codebase, plain or transposed, whole, a part of its rows, or several one after the
other; it is *folded* where it is computed of several by a step that exporters are known to take ahead (`folds`). What
has a weight's shape and is neither is another model's, however little outputs move by it: a matrix, and a bias, a
norm's weight, a scale or a token too. Coordinates of patches, which step evenly, are none of these.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoport.files.census import take_census
from dinoport.proofs.exact import ExactProof
from dinoport.proofs.exported.folds import Fold, Folds
from dinoport.proofs.exported.lookup import MAX_LIKENED, UNLIKE, Known, Lookup, bare
from dinoport.tensor import Array, Shape, TensorRef, is_matrix, shape_text


@dataclass(frozen=True)
class Contents:
    """What became of every tensor of the file that holds floats, by its name there.

    `found` leads to the canonical tensors that it holds, `folded` to what it was computed of. `tables` are those of
    positions, which are compared by themselves. `remaining` are neither, and no weights by their shape. `missing` are
    the canonical tensors that the file does not hold as they are. `rounded` are found after rounding to the file's
    dtype; `unrounded` are the canonical tensors that no such rounded one is a part of.
    """

    found: Mapping[str, tuple[str, ...]]
    folded: Mapping[str, Fold]
    tables: tuple[str, ...]
    remaining: tuple[str, ...]
    missing: tuple[str, ...]
    rounded: int
    unrounded: frozenset[str]
    proof: ExactProof


def look_up(
    constants: Mapping[str, TensorRef], known: Sequence[Known], architecture: Any, tables: tuple[str, ...]
) -> Contents:
    """Look every tensor of a file up. `known` are the original's in all their forms, `tables` those of positions."""
    lookup = Lookup(known)
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
    folds = Folds({name: tensor for name, tensor in canonical.items() if tensor.is_float}, architecture)
    rotates = bool(architecture.network.rotation)
    for name, tensor in constants.items():
        if not tensor.is_float or name in tables or (tensor.size == 1 and not lookup.has_single(tensor)):
            continue
        values = tensor.read()
        compared += tensor.size_bytes
        match = lookup.find(values)
        if match is None and not _is_even(values):
            fold = folds.find(values)
            if fold is not None:
                folded[name] = fold
            elif bare(tensor.shape) in shapes and not (rotates and _steps_evenly(values)):
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
    missing = tuple(name for name, tensor in canonical.items() if name not in held and tensor.is_float)
    proof = ExactProof(
        found=len(found) - rounded,
        recomputed=rounded + len(folded),
        dropped=len(missing),
        compared_bytes=compared,
        nonfinite=nonfinite,
        matrices=matrices,
        zero_matrices=tuple(zero),
        problems=tuple(problems),
    )
    unrounded = frozenset(held - narrowed)
    return Contents(found, folded, tables, tuple(remaining), missing, rounded, unrounded, proof)


def _shapes_of_weights(known: Sequence[Known]) -> Iterator[Shape]:
    """The shapes, without axes of 1, of all that is not a single number; of vectors those of a half and a third too."""
    for each in known:
        shape = bare(each.tensor.shape) if each.tensor.is_float else ()
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
