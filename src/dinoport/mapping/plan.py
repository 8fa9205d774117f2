"""A plan: how each tensor is made of others, complete and unambiguous, before a byte moves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.values import byte_ranges
from dinoport.mapping.computation import Computed, Merged
from dinoport.mapping.operations import AddAxis, Kind, Operation, Rows
from dinoport.tensor import Array, Shape, TensorRef, TensorSpec, dtype_name


class Span(NamedTuple):
    """The flattened elements `start` to `stop` of a tensor. One that is `declared` lies in no file."""

    tensor: TensorRef
    start: int
    stop: int
    is_declared: bool = False

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Step:
    """How one tensor of the output is made: `spans`, one after the other, through `operation`.

    `shape` is the operation's source shape. With `inverted` the operation runs backwards.
    """

    target: TensorSpec
    spans: tuple[Span, ...]
    operation: Operation
    kind: Kind
    shape: Shape
    reason: str = ""
    inverted: bool = False

    @property
    def casts(self) -> bool:
        return any(span.tensor.dtype != self.target.dtype for span in self.spans)

    @property
    def keeps_values(self) -> bool:
        """Whether the values are the spans' own, one after the other."""
        return type(self.operation) in (Rows, AddAxis) and not self.casts

    def blocks(self) -> Iterator[Array]:
        """Yield the flattened values of the target in the target's dtype, block by block."""
        granule = self.operation.granule(self.shape)
        convert = self.operation.revert if self.inverted else self.operation.apply
        for span in self.spans:
            for block in span.tensor.blocks(span.start, span.stop, granule):
                yield _cast(convert(block, self.shape), self.target.dtype)

    def tensor(self) -> TensorRef:
        """The target as a tensor that can be read, though it is not written yet."""
        first = self.spans[0] if self.spans else None
        if first and first.size == self.target.size == first.tensor.size and self.keeps_values:
            return TensorRef(self.target.name, self.target.dtype, self.target.shape, first.tensor.values)
        return TensorRef(self.target.name, self.target.dtype, self.target.shape, _StepValues(self))

    def describe(self) -> str:
        """One line for people: `blocks.0.attn.qkv.weight rows 0–383 of 1152`, counted from 0."""
        if self.kind is Kind.SYNTHESISED:
            return f"({self.reason})"
        parts = []
        for span in self.spans:
            text = span.tensor.name
            if span.stop - span.start != span.tensor.size and span.tensor.shape:
                row = span.tensor.size // span.tensor.shape[0]
                first, last = span.start // row, span.stop // row - 1
                rows = f"row {first}" if first == last else f"rows {first}–{last}"
                text += f" {rows} of {span.tensor.shape[0]}"
            parts.append(text)
        text = " + ".join(parts)
        return f"{text}, as {dtype_name(self.target.dtype)}" if self.casts else text


def _cast(block: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):  # what is too large becomes an infinity, and those are counted
        return block.astype(dtype, copy=False)


@dataclass(frozen=True)
class _StepValues(Computed):
    step: Step

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        if self.step.keeps_values:
            yield from self._pass_on(start, stop, limit)
            return
        passed = 0
        for block in self.step.blocks():
            wanted = block[max(start - passed, 0) : max(stop - passed, 0)]
            passed += block.size
            for first in range(0, wanted.size, limit):
                yield wanted[first : first + limit]

    @property
    def tensors(self) -> tuple[TensorRef, ...]:
        return tuple(span.tensor for span in self.step.spans)

    def pieces(self, start: int, stop: int) -> Iterator[TensorRef]:
        """The tensors that the elements from `start` to `stop` are taken from."""
        passed = 0
        for span in self.step.spans:
            if not self.step.keeps_values or (passed < stop and start < passed + span.size):
                yield span.tensor
            passed += span.size

    def byte_ranges(self) -> Iterator[tuple[ByteSource, int, int]]:
        for span in self.step.spans:
            if span.size == span.tensor.size:
                yield from byte_ranges(span.tensor.values)

    def _pass_on(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        """The wanted elements alone, where a step only puts ranges one after the other."""
        passed = 0
        for span in self.step.spans:
            first, last = max(start - passed, 0), min(stop - passed, span.stop - span.start)
            passed += span.stop - span.start
            if first < last:
                yield from span.tensor.values.blocks(span.start + first, span.start + last, limit)


def computed(tensor: TensorRef) -> Step:
    """A tensor with its own values, which may be computed from those of others."""
    spec = TensorSpec(tensor.name, tensor.dtype, tensor.shape)
    return Step(spec, (Span(tensor, 0, tensor.size),), Rows(), Kind.RECOMPUTED, tensor.shape)


def unrounded(tensor: TensorRef) -> TensorRef:
    """The same tensor in float64, with what is merged into it as it is before it is rounded."""
    values, wide = tensor.values, np.dtype(np.float64)
    if isinstance(values, Merged):
        return replace(tensor, dtype=wide, values=replace(values, dtype=wide))
    if isinstance(values, _StepValues):
        step = values.step
        spans = tuple(span._replace(tensor=unrounded(span.tensor)) for span in step.spans)
        step = replace(step, spans=spans, target=step.target._replace(dtype=wide))
        return replace(tensor, dtype=wide, values=_StepValues(step))
    return tensor


class Dropped(NamedTuple):
    """A tensor, or a part of one, that the output does not hold, and why.

    `returns` says that the way back makes it again: from its declaration, from a second name, or as zeros. `anew` is
    the reason where a training goes on from the model, and starts this part anew.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    reason: str
    returns: bool = False
    anew: str = ""


@dataclass(frozen=True)
class Plan:
    """All that will be written and all that will not."""

    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]

    @property
    def size_bytes(self) -> int:
        return sum(step.target.size_bytes for step in self.steps)

    def counts(self) -> Mapping[Kind, int]:
        """How many tensors are made by each kind of operation, and how many are dropped."""
        counts = dict.fromkeys(Kind, 0)
        for step in self.steps:
            counts[step.kind] += 1
        counts[Kind.DROPPED] = len(self.dropped)
        return counts


def sources(steps: Sequence[Step]) -> Mapping[str, TensorRef]:
    """Every tensor that the steps read, by name."""
    return {span.tensor.name: span.tensor for step in steps for span in step.spans if step.kind is not Kind.SYNTHESISED}


def carried_whole(steps: Sequence[Step]) -> Iterator[TensorRef]:
    """The tensors of which every element reaches the output as it is, so that the exact proof compares every bit."""
    carried: dict[str, int] = {}
    for step in steps:
        if step.kind is Kind.BIJECTIVE and not step.casts:
            for span in step.spans:
                carried[span.tensor.name] = carried.get(span.tensor.name, 0) + span.stop - span.start
    return (tensor for name, tensor in sources(steps).items() if carried.get(name) == tensor.size)
