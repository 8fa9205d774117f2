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
    """What is said about the original model beside its weights; `said_by` is who says so, if not the command line."""

    num_heads: int | None = None
    layer_norm_eps: float | None = None
    interpolation: str | None = None
    said_by: str | None = None

    def speaker(self, option: str) -> str:
        """Where a value comes from: a file, or the option that set it."""
        return self.said_by or option
