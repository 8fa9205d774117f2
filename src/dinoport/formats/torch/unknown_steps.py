"""Steps of a pickle that are not understood, and the tensors that they can reach."""

from __future__ import annotations

from collections.abc import Iterator

from dinoport.formats.storage import Storage
from dinoport.formats.torch.stand_ins import Opaque, reached
from dinoport.formats.torch.storages import TypedStorage
from dinoport.formats.values import StoredValues
from dinoport.tensor import TensorRef


class UnknownSteps:
    """Each may change whatever can be reached from its roots, when the whole pickle has been read."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, tuple[object, ...]]] = []

    def __iter__(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        return iter(self._steps)

    def note(self, step: str, *roots: object) -> None:
        self._steps.append((step, roots))

    def touched(self) -> dict[int, str]:
        """The storages that a step may have changed, by identity, and which step that was."""
        found: dict[int, str] = {}
        seen: set[int] = set()
        for step, roots in self._steps:
            for node in reached(roots, seen):
                if storage := _storage_of(node):
                    found.setdefault(id(storage), step)
        return found


def is_plain(value: object) -> bool:
    """Whether neither tensors nor objects can be reached from a value."""
    return not any(isinstance(node, Opaque) or _storage_of(node) for node in reached([value], set()))


def _storage_of(node: object) -> Storage | None:
    if isinstance(node, TensorRef):
        node = node.values
    return node.storage if isinstance(node, (StoredValues, TypedStorage)) else None
