"""Tell remote sources what is about to be read, so that they fetch it in few requests, ahead of the reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

from dinoport.checkpoints.byte_sources import ByteSource
from dinoport.checkpoints.values import StoredValues
from dinoport.tensor import TensorRef, Values

Extent: TypeAlias = tuple[ByteSource, int, int]
"""A source, and the first byte and the end of a span in it."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A source that is worth telling."""

    def will_read(self, spans: Iterable[tuple[int, int]]) -> None: ...


def announce(tensors: Iterable[TensorRef]) -> None:
    """Say that these tensors will be read, in this order. Local files do not care."""
    spans: dict[int, tuple[ReadsAhead, list[tuple[int, int]]]] = {}
    for tensor in tensors:
        for source, start, stop in _extents(tensor.values):
            if isinstance(source, ReadsAhead):
                spans.setdefault(id(source), (source, []))[1].append((start, stop))
    for remote, wanted in spans.values():
        remote.will_read(wanted)


def _extents(values: Values) -> Iterator[Extent]:
    """Where values lie, as far as it is known without reading."""
    if isinstance(values, StoredValues) and values.storage.extent is not None:
        yield (values.storage.source, *values.storage.extent)
