"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the bytes done, and the bytes in all; 0 where that is not known."""


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


class Bar:
    """Adds up bytes from any thread and passes them on."""

    def __init__(self, stage: str, total: int, on_progress: Progress) -> None:
        self._stage, self._total, self._on_progress = stage, total, on_progress
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        self._on_progress(self._stage, self._done, self._total)
