"""A linear classifier that was trained on frozen features, and what it takes as features."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Features(str, Enum):
    """The features of one picture, all from tokens after the final norm."""

    CLS = "the CLS token"
    CLS_MEAN_INTERLEAVED = "CLS token and patch mean, channel by channel in turn"
    CLS_MEAN = "CLS token, then patch mean"


@dataclass(frozen=True)
class Probe:
    """A linear layer over `features`, with one row a class."""

    features: Features
    classes: int
