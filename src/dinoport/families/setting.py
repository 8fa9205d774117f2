"""A value that decides what a converted model computes, with where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Origin(str, Enum):
    """How far a value can be trusted."""

    STORED = "stored"
    """Read off the file: a shape, the presence of a tensor, the values of a buffer."""
    INFERRED = "inferred"
    """Follows from something that the file or a config beside it says about how it was trained."""
    GIVEN = "given"
    """The user said so."""
    ASSUMED = "assumed"
    """Neither stored nor said: what the original's published models use. A wrong one makes another model."""


@dataclass(frozen=True)
class Setting:
    """`name = value`, and in words why: `heads = 6 (width / 64)`."""

    name: str
    value: object
    origin: Origin
    reason: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value} ({self.reason})"


@dataclass(frozen=True)
class Wishes:
    """What the user said about the original model, and what its training left beside the weights."""

    num_heads: int | None = None
    layer_norm_eps: float | None = None
    interpolation: str | None = None
