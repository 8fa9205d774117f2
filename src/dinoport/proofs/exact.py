"""The exact proof: every tensor of the original is found again in the written file, bit for bit, or accounted for.

It reads both files afresh and goes from right to left, from the names in the written file back to the original's, so
it does not repeat the plan that wrote them. It proves transport; that the rules themselves are right is pinned by the
recorded lists in tests/fixtures/mapping.

A checksum that the original carries is computed once, over the bytes as they are read in order: by the writer, or here
where nothing was written before. Either way the bytes that it covers are those that are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.census import Census, take_census
from dinoport.formats.storage import Storage, summed_storages
from dinoport.mapping.operations import Kind, Operation, ShapeMismatchError
from dinoport.mapping.resolve import Claim, claims_of_source, claims_of_target
from dinoport.mapping.rule import Rule
from dinoport.tensor import BFLOAT16, Array, TensorRef, dtype_name, is_matrix, shape_text

QUIET_NAN = np.uint32(0x7FC0)
"""Of bfloat16."""

WORKERS = 2
"""Comparing is bound by memory and checksums; a third thread gains nothing on the machines measured."""


@dataclass(frozen=True)
class ExactProof:
    """What was found again, counted in tensors of the original (`synthesised`: of the target).

    `checksums` are those of the source that hold: on a way back those of the folder, which safetensors has none of.
    `zero_matrices` are the names of those of its `matrices` that are zero throughout.
    """

    found: int = 0
    recomputed: int = 0
    synthesised: int = 0
    dropped: int = 0
    compared_bytes: int = 0
    checksums: int = 0
    nonfinite: Mapping[str, int] = field(default_factory=dict)
    matrices: int = 0
    zero_matrices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def mostly_zero(self) -> bool:
        """Whether half of the matrices hold nothing: more than a classifier that was not trained, or a table."""
        return bool(self.zero_matrices) and 2 * len(self.zero_matrices) >= self.matrices


def prove(
    originals: Mapping[str, TensorRef],
    written: Mapping[str, TensorRef],
    rules: Sequence[Rule],
    on_bytes: Callable[[int], None] = lambda count: None,
    *,
    cast: np.dtype[Any] | None = None,
    returned: bool = False,
) -> ExactProof:
    """Find every tensor of `originals` in `written`, through `rules` read from right to left.

    `cast` is the dtype that weights were to be rounded to. With `returned` the originals were made from `written`, so
    what its rules drop and declare is declared there, and a folder may lack what rules would make for it.
    """
    problems: list[str] = []
    homes: dict[str, dict[int, tuple[Claim, TensorRef]]] = {}
    constants: list[tuple[Rule, TensorRef]] = []
    for name, tensor in written.items():
        claims = claims_of_target(name, rules)
        if len(claims) != 1:
            problems.append(f"{name} of the target is explained by {len(claims)} rules")
        elif claims[0].source is None:
            constants.append((claims[0].rule, tensor))
        elif claims[0].source not in originals:
            problems.append(f"{name} of the target has no source: {claims[0].source} is not in the original")
        elif claims[0].part in homes.setdefault(claims[0].source, {}):
            problems.append(f"{name} of the target is a second tensor for one place of {claims[0].source}")
        else:
            homes[claims[0].source][claims[0].part] = (claims[0], tensor)
    problems += [] if returned else _missing_constants(rules, written)
    dropped = [name for name in originals if name not in homes]
    problems += [text for name in dropped if (text := _check_dropped(name, originals, rules, returned))]

    storages = summed_storages(originals[name] for name in homes)
    of_source = summed_storages(written.values()) if returned else storages
    with _workers() as pool:
        pairs = [(originals[name], parts) for name, parts in homes.items()]
        comparisons = list(pool.map(lambda pair: _compare(pair[0], pair[1], cast, on_bytes), pairs))
        problems += [text for text in pool.map(checksum_problem, [*storages, *(of_source if returned else ())]) if text]
    problems += [text for comparison in comparisons for text in comparison.problems]
    problems += [text for rule, tensor in constants if (text := _check_constant(rule, tensor))]
    return ExactProof(
        found=sum(not comparison.recomputed for comparison in comparisons),
        recomputed=sum(comparison.recomputed for comparison in comparisons),
        synthesised=len(constants),
        dropped=len(dropped),
        compared_bytes=sum(originals[name].size_bytes for name in homes),
        checksums=len(of_source),
        nonfinite={each.name: each.census.nonfinite for each in comparisons if each.census.nonfinite},
        matrices=sum(is_matrix(originals[name].shape) for name in homes),
        zero_matrices=tuple(
            each.name
            for each in comparisons
            if each.census.all_zero and not each.problems and is_matrix(originals[each.name].shape)
        ),
        problems=tuple(problems),
    )


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """A pool that gives up what it has not begun when the user stops the run."""
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(frozen=True)
class _Comparison:
    name: str
    recomputed: bool
    census: Census
    problems: tuple[str, ...]


def _compare(
    original: TensorRef,
    parts: Mapping[int, tuple[Claim, TensorRef]],
    cast: np.dtype[Any] | None,
    on_bytes: Callable[[int], None],
) -> _Comparison:
    """Compare one original with the row ranges of it that the target holds."""
    rule = next(iter(parts.values()))[0].rule
    operation = rule.operation
    size = original.size // operation.parts
    problems: list[str] = []
    recomputed, census = 0, Census()
    for part, pattern in enumerate(rule.targets):
        if pattern is None:
            continue
        if part not in parts:
            problems.append(f"part {part + 1} of {original.name} is not in the target")
            continue
        tensor = parts[part][1]
        misfit = _misfit(original, operation, tensor, cast)
        if misfit:
            problems.append(misfit)
            continue
        granule = operation.granule(original.shape)
        ours = original.blocks(part * size, (part + 1) * size, granule)
        theirs = tensor.blocks(granule=granule if rule.kind is Kind.BIJECTIVE else 1)
        if rule.kind is Kind.BIJECTIVE:
            theirs = (operation.revert(block, original.shape) for block in theirs)
        else:
            ours = (operation.apply(block, original.shape) for block in ours)
        compared = 0
        for left, right in _aligned(ours, theirs):
            recomputed += left.dtype != right.dtype or rule.kind is Kind.RECOMPUTED
            census += take_census(np.ascontiguousarray(left))
            differing = _first_rounding(left, right)
            if differing is not None:
                at = f"element {part * size + compared + differing}"
                problems.append(f"{original.name} differs from {tensor.name} at {at}")
                break
            compared += left.size
            on_bytes(left.nbytes)
        else:
            if compared != tensor.size:
                problems.append(f"{tensor.name} has {tensor.size} elements, of which {compared} could be compared")
    return _Comparison(original.name, recomputed > 0, census, tuple(problems))


def _misfit(original: TensorRef, operation: Operation, tensor: TensorRef, cast: np.dtype[Any] | None) -> str | None:
    """Whether a tensor of the target has another shape or dtype than it must have."""
    try:
        shape = operation.target_shape(original.shape)
    except ShapeMismatchError as error:
        return f"{original.name} has a shape that does not fit: {error}"
    if tensor.shape != shape:
        return f"{tensor.name} has shape {shape_text(tensor.shape)}, {original.name} gives {shape_text(shape)}"
    dtype = cast if cast is not None and original.is_float else original.dtype
    if tensor.dtype != dtype:
        return f"{tensor.name} is {dtype_name(tensor.dtype)}, where {original.name} gives {dtype_name(dtype)}"
    return None


def _aligned(left: Iterator[Array], right: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
    """Two streams of blocks as pairs of equal length; ends with the shorter stream."""
    ours = theirs = np.empty(0)
    while True:
        if not ours.size:
            ours = next(left, np.empty(0))
        if not theirs.size:
            theirs = next(right, np.empty(0))
        count = min(ours.size, theirs.size)
        if not count:
            return
        yield ours[:count], theirs[:count]
        ours, theirs = ours[count:], theirs[count:]


def _recast(block: Array, like: Array) -> Array:
    """Round to the dtype of `like`, halves to even, by another way than the writer's cast.

    Float64 goes to bfloat16 by way of float32, as in torch.
    """
    if block.dtype == like.dtype:
        return block
    with np.errstate(over="ignore", invalid="ignore"):  # an infinity is counted as one; NaN may signal
        if like.dtype != BFLOAT16:
            return block.astype(np.float64).astype(like.dtype)
        single = np.ascontiguousarray(block, dtype=np.float32)
    bits = single.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    # Adding carries a NaN of large bits over into a number.
    rounded[np.isnan(single)] = QUIET_NAN
    return rounded.astype(np.uint16).view(BFLOAT16)


def _first_rounding(block: Array, theirs: Array) -> int | None:
    """The first element that is not what a cast of `block` gives. A NaN need not keep its bits when it is cast."""
    ours = _recast(block, theirs)
    differing = _first_difference(ours, theirs)
    if differing is None or block.dtype == theirs.dtype:
        return differing
    with np.errstate(invalid="ignore"):
        nan = np.isnan(ours) & np.isnan(theirs)
    return _first_difference(np.where(nan, theirs, ours), theirs)


def _first_difference(ours: Array, theirs: Array) -> int | None:
    word = np.dtype(f"u{ours.dtype.itemsize}")
    same = np.ascontiguousarray(ours).view(word) == np.ascontiguousarray(theirs).view(word)
    return None if same.all() else int(np.argmin(same))


def _missing_constants(rules: Sequence[Rule], written: Mapping[str, TensorRef]) -> list[str]:
    made = [rule.targets[0].template for rule in rules if rule.source is None and rule.targets[0]]
    return [f"{name} is not in the target" for name in made if name not in written]


def _check_constant(rule: Rule, tensor: TensorRef) -> str | None:
    """Whether a synthesised tensor holds what its rule declares."""
    if rule.constant is None or rule.constant.shape != tensor.shape:
        return f"{tensor.name} has not the shape that was declared for it"
    declared = rule.constant.tensor(tensor.name, tensor.dtype)
    pairs = _aligned(declared.blocks(), tensor.blocks())
    if all(_first_difference(left, right) is None for left, right in pairs):
        return None
    return f"{tensor.name} is not what was declared ({rule.constant})"


def _check_dropped(name: str, originals: Mapping[str, TensorRef], rules: Sequence[Rule], returned: bool) -> str | None:
    """Whether a rule drops this tensor of the original, and what it says of the tensor holds."""
    claim = next((claim for claim in claims_of_source(name, rules) if claim.rule.kind is Kind.DROPPED), None)
    if claim is None:
        return f"{name} is neither found again nor dropped by a rule"
    if claim.rule.alias is not None:
        other = claim.rule.alias.fill(claim.bindings)
        return None if other in originals and _same(originals[name], originals[other]) else f"{name} is not {other}"
    if returned and claim.rule.constant is not None:
        return _check_constant(claim.rule, originals[name])
    return None


def _same(one: TensorRef, other: TensorRef) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(_first_difference(left, right) is None for left, right in _aligned(one.blocks(), other.blocks()))


def checksum_problem(storage: Storage) -> str | None:
    """What is wrong with bytes that have a checksum in their file."""
    try:
        storage.check()
    except CheckpointError as error:
        return str(error)
    return None
