"""How a reference shows what it computes on the way, so that a report can name the first block that differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Observer: TypeAlias = "Callable[[str, torch.Tensor], None]"
"""Called with a module's original name (`blocks.0`, `layer1.0`, `stages.0.0`) and what comes out of it."""

EMBEDDING = "embedding"
"""The name of what enters the first block: no module of the originals computes all of it."""

AFTER = "after the last block"
"""Where every block is equal and the outputs are not: the final norm, a pooler, a classifier."""

PATCHES, CLS_AND_PATCHES = "patches", "CLS token and patches"
"""Parts of a network's tokens that others give as an output."""


def ignore(name: str, output: torch.Tensor) -> None:
    """The observer of a caller who wants the outputs alone."""
