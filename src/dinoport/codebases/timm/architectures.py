"""What timm's builders set in Python, and no tensor shows, by their names: heads and eps of those that are read here.

Sources: `timm/models/{vision_transformer,deit,eva}.py`. A builder with another activation, or with positions in no
tensor, is a stranger's (`strangers.py`): the same shapes do not make it the same network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

EPS, EPS_OF_DINOV3 = 1e-6, 1e-5


@dataclass(frozen=True)
class Series:
    """Builders of one kind in several sizes: how they are called, their heads by size, and the eps of their LayerNorm.

    `family` is the one whose names timm's are read as, where no tensor tells it.
    """

    pattern: str
    heads: Mapping[str, int]
    eps: float = EPS
    family: str | None = None

    def size(self, architecture: str) -> str | None:
        sizes = "|".join(sorted(self.heads, key=len, reverse=True))
        found = re.fullmatch(self.pattern.replace("SIZE", f"({sizes})"), architecture)
        return found[1] if found else None


PLAIN = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16, "giant": 16, "gigantic": 16}

SERIES = (
    Series(r"vit_SIZE_patch\d+(?:_reg\d+)?_dinov2", {"small": 6, "base": 12, "large": 16, "giant": 24}),
    Series(r"vit_SIZE_patch\d+_reg1_tips\w*", {"base": 12, "large": 16, "so400m": 16, "giant": 24}),
    Series(
        r"vit_SIZE_patch\d+_dinov3\w*",
        {"tiny": 3, "small": 6, "small_plus": 6, "base": 12, "large": 16, "huge_plus": 20, "7b": 32},
        EPS_OF_DINOV3,
        "dinov3",
    ),
    Series(r"vit_SIZE_patch\d+_lingbot", {"small": 6, "base": 12, "large": 16, "giant": 24}, EPS_OF_DINOV3, "dinov3"),
    Series(r"vit_SIZE_patch\d+_gap_\d+", {"base": 16, "huge": 16, "giant": 16}),
    Series(r"vit_SIZE_patch\d+_plus_\d+", {"base": 14}),
    Series(r"vit_SIZE_patch\d+_36x1_\d+", {"small": 6}),
    Series(r"vit_SIZE_patch\d+_\d+\w*", PLAIN),
    Series(r"test_SIZE", {"vit": 2}),
    Series(r"deit_SIZE(?:_distilled)?_patch\d+_\d+", {"tiny": 3, "small": 6, "base": 12}),
    Series(r"deit3_SIZE_patch\d+_\d+\w*", {"small": 6, "medium": 8, "base": 12, "large": 16, "huge": 16}),
    Series(r"eva_SIZE_patch\d+_\d+", {"large": 16}),
)
"""The closer look first. Whatever width `model_args` give, a builder keeps its heads."""


EPS_OF = {"convnext_xxlarge": 1e-5}
"""Of single builders."""


def series_of(architecture: str) -> tuple[Series, int] | None:
    """The builders that one of this name belongs to, and its heads; None for a name that is not known."""
    name = architecture.partition(".")[0]
    found = ((series, size) for series in SERIES if (size := series.size(name)))
    return next(((series, series.heads[size]) for series, size in found), None)
