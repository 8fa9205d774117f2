"""Tell remote sources what is about to be read, so that they fetch it in few requests, ahead of the reader."""

from __future__ import annotations

from collections.abc import Iterable

from dinoport.files.byte_sources import ReadsAhead
from dinoport.formats.values import extents
from dinoport.tensor import TensorRef


def announce(tensors: Iterable[TensorRef]) -> None:
    """Say that these tensors will be read, in this order. Local files do not care."""
    spans: dict[int, tuple[ReadsAhead, list[tuple[int, int]]]] = {}
    for tensor in tensors:
        for source, start, stop in extents(tensor.values):
            if isinstance(source, ReadsAhead):
                spans.setdefault(id(source), (source, []))[1].append((start, stop))
    for remote, wanted in spans.values():
        remote.will_read(wanted)
