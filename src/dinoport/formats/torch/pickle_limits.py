"""How much a pickle may make, against what a checkpoint can need."""

from __future__ import annotations

from dinoport.errors import CheckpointError
from dinoport.formats.torch.pickle_bytes import PickleBytes


class PickleLimits:
    """Counts what one pickle makes; `unread` says where in it a limit is passed."""

    def __init__(self, unread: PickleBytes, max_objects: int, max_memory_bytes: int | None) -> None:
        self._bytes = unread
        self._max_objects = self._objects_left = max_objects
        self._max_memory_bytes, self._memory_bytes = max_memory_bytes, 0

    def broken(self, found: str) -> CheckpointError:
        return self._bytes.broken(f"{found} at byte {self._bytes.position}")

    def count(self, objects: int) -> None:
        """Count what is made against what a checkpoint can need."""
        self._objects_left -= objects
        if self._objects_left < 0:
            raise self.broken(f"more than {self._max_objects} objects")

    def take(self, size_bytes: int) -> None:
        """Count what objects take of memory, where that is limited too."""
        self._memory_bytes += size_bytes
        if self._max_memory_bytes is not None and self._memory_bytes > self._max_memory_bytes:
            raise self.broken(f"objects of more than {self._max_memory_bytes} bytes")
