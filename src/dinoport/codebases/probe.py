"""A linear classifier that was trained on frozen features, and what it takes as features."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from dinoport.codebases.setting import Origin, Setting


class Features(str, Enum):
    """The features of one picture, all from tokens after the final norm."""

    CLS = "the CLS token"
    CLS_MEAN_INTERLEAVED = "CLS token and patch mean, channel by channel in turn"
    CLS_MEAN = "CLS token, then patch mean"


def columns_setting(features: Features, head: str | None, own: Container[str], source: str) -> Setting[str]:
    """Which columns of a head belong to which feature: no shape tells. `own` is what `source` calls the layer."""
    if head is None or head in own:
        return Setting("head columns", features.value, Origin.INFERRED, f"named as {source} names it")
    return Setting("head columns", features.value, Origin.ASSUMED, f"as {source} writes them")


@dataclass(frozen=True)
class Probe:
    """A linear layer over `features`, with one row a class."""

    features: Features
    classes: int
