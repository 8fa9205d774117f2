"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the bytes done, and the bytes in all; 0 where that is not known."""


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""
