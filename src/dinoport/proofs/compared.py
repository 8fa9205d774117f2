"""One canonical tensor of both sides, compared in blocks and bit for bit, over the parts that the target holds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoport.files.census import Census, take_census
from dinoport.mapping.computation import is_merged
from dinoport.mapping.operations import Kind, Operation, ShapeMismatchError
from dinoport.mapping.plan import Span, Step
from dinoport.tensor import BFLOAT16, Array, Shape, TensorRef, dtype_name, shape_text

QUIET_NAN = np.uint32(0x7FC0)
"""Of bfloat16."""


def held_as(step: Step) -> str:
    return ", ".join(dict.fromkeys(span.tensor.name for span in step.spans))


@dataclass(frozen=True)
class Compared:
    """What was found of one canonical tensor. `unheld` says where a part differs that the source has no place for."""

    name: str
    recomputed: bool
    census: Census
    problems: tuple[str, ...]
    unheld: str = ""


def compare(
    source: Step,
    target: Step,
    cast: np.dtype[Any] | None,
    anew: Mapping[str, Operation],
    on_bytes: Callable[[int], None],
) -> Compared:
    """Compare one canonical tensor of both sides, over the parts that the target holds."""
    ours, name = source.tensor(), source.target.name
    operation = anew.get(name)
    misfit = _misfit(ours, target, operation, cast)
    if misfit:
        return Compared(name, False, Census(), (misfit,))
    problems: list[str] = []
    recomputed, census, unheld = int(is_merged(ours.values)), Census(), ""
    for start, stop, span, is_held in _parts(source, target, ours.size):
        compared = 0
        for left, right in aligned(_of_source(ours, start, stop, operation), _of_target(target, span)):
            recomputed += (
                left.dtype != right.dtype or operation is not None or Kind.RECOMPUTED in (source.kind, target.kind)
            )
            census += take_census(np.ascontiguousarray(left))
            differing = _first_rounding(left, right)
            if differing is not None:
                other = f" from {span.tensor.name}" if span.tensor.name != name else ""
                text = f"{name} differs{other} at element {start + compared + differing}"
                problems += [text] if is_held else []
                unheld = unheld if is_held else text
                break
            compared += left.size
            on_bytes(left.nbytes)
        else:
            wanted = span.size if operation else stop - start
            if compared != wanted and not span.is_declared:
                problems.append(f"{span.tensor.name} has {span.size} elements, of which {compared} could be compared")
    return Compared(name, recomputed > 0, census, tuple(problems), unheld)


def _parts(source: Step, target: Step, size: int) -> Iterator[tuple[int, int, Span, bool]]:
    """Where each part of a canonical tensor begins and ends, the target's part, and whether the source holds it."""
    start = 0
    for span in target.spans:
        stop = start + span.size if len(target.spans) > 1 else size
        first = 0
        for own in source.spans if any(each.is_declared for each in source.spans) else ():
            low, high = max(start, first), min(stop, first + own.size)
            if low < high:
                part = span._replace(start=span.start + low - start, stop=span.start + high - start)
                yield low, high, part, not own.is_declared
            first += own.size
        if not first:
            yield start, stop, span, True
        start = stop


def _of_source(tensor: TensorRef, start: int, stop: int, operation: Operation | None) -> Iterator[Array]:
    if operation is None:
        yield from tensor.blocks(start, stop)
        return
    for block in tensor.blocks(start, stop, operation.granule(tensor.shape)):
        yield operation.apply(block, tensor.shape)


def _of_target(step: Step, span: Span) -> Iterator[Array]:
    """One part of a canonical tensor as the target holds it; nothing of a part that it has no place for."""
    if span.is_declared:
        return
    for block in span.tensor.blocks(span.start, span.stop, step.operation.granule(step.shape) if step.inverted else 1):
        yield step.operation.revert(block, step.shape) if step.inverted else block


def _misfit(ours: TensorRef, target: Step, operation: Operation | None, cast: np.dtype[Any] | None) -> str | None:
    """Whether the target has another shape or dtype than it must have."""
    shape, spec = operation.target_shape(ours.shape) if operation else ours.shape, target.target
    if spec.shape != shape:
        held, wanted = shape_text(target.spans[0].tensor.shape), shape_text(_as_held(target, shape))
        return f"{held_as(target)} has shape {held}, where {ours.name} gives {wanted}"
    dtype = cast if cast is not None and ours.is_float else ours.dtype
    if spec.dtype != dtype:
        return f"{held_as(target)} is {dtype_name(spec.dtype)}, where {ours.name} gives {dtype_name(dtype)}"
    return None


def _as_held(target: Step, shape: Shape) -> Shape:
    """The shape that a canonical tensor of this shape has under the target's own names, where it can have one there."""
    try:
        return target.operation.target_shape(shape) if target.inverted else shape
    except ShapeMismatchError:
        return shape


def aligned(left: Iterator[Array], right: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
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
    differing = first_difference(ours, theirs)
    if differing is None or block.dtype == theirs.dtype:
        return differing
    with np.errstate(invalid="ignore"):
        nan = np.isnan(ours) & np.isnan(theirs)
    return first_difference(np.where(nan, theirs, ours), theirs)


def first_difference(ours: Array, theirs: Array) -> int | None:
    word = np.dtype(f"u{ours.dtype.itemsize}")
    same = np.ascontiguousarray(ours).view(word) == np.ascontiguousarray(theirs).view(word)
    return None if same.all() else int(np.argmin(same))
