"""What timm's builders set in Python, and no tensor shows, by their names: heads and eps of those that are read here.

Sources: `timm/models/{vision_transformer,deit,eva}.py`. A builder with another activation, or with positions in no
tensor, is a stranger's (`strangers.py`): the same shapes do not make it the same network.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

EPS, EPS_OF_DINOV3 = 1e-6, 1e-5


@dataclass(frozen=True)
class Series:
    """Builders of one kind in several sizes: how they are called, their heads by size, and the eps of their LayerNorm.

    `family` is the one whose names timm's are read as, where no tensor tells it; `others` are widths that are not those
    of all others of this size.
    """

    pattern: str
    heads: Mapping[str, int]
    eps: float = EPS
    family: str | None = None
    others: Mapping[str, int] = field(default_factory=dict)

    def width(self, size: str) -> int:
        return self.others.get(size, WIDTHS[size])

    def size(self, architecture: str) -> str | None:
        sizes = "|".join(sorted(self.heads, key=len, reverse=True))
        found = re.fullmatch(self.pattern.replace("SIZE", f"({sizes})"), architecture)
        return found[1] if found else None


WIDTHS = {
    **{"tiny": 192, "small": 384, "medium": 512, "base": 768, "large": 1024, "huge": 1280, "giant": 1408},
    **{"gigantic": 1664, "small_plus": 384, "huge_plus": 1280, "so400m": 1152, "7b": 4096, "vit": 64},
}
"""By the size in a builder's name."""

WIDE = {"giant": 1536}
"""In what was made after DINOv2."""

PLAIN = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16, "giant": 16, "gigantic": 16}

SERIES = (
    Series(r"vit_SIZE_patch\d+(?:_reg\d+)?_dinov2", {"small": 6, "base": 12, "large": 16, "giant": 24}, others=WIDE),
    Series(r"vit_SIZE_patch\d+_reg1_tips\w*", {"base": 12, "large": 16, "so400m": 16, "giant": 24}, others=WIDE),
    Series(
        r"vit_SIZE_patch\d+_dinov3\w*",
        {"tiny": 3, "small": 6, "small_plus": 6, "base": 12, "large": 16, "huge_plus": 20, "7b": 32},
        EPS_OF_DINOV3,
        "dinov3",
    ),
    Series(
        r"vit_SIZE_patch\d+_lingbot", {"small": 6, "base": 12, "large": 16, "giant": 24}, EPS_OF_DINOV3, "dinov3", WIDE
    ),
    Series(r"vit_SIZE_patch\d+_gap_\d+", {"base": 16, "huge": 16, "giant": 16}),
    Series(r"vit_SIZE_patch\d+_plus_\d+", {"base": 14}, others={"base": 896}),
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
    found = _sized(architecture)
    return (found[0], found[0].heads[found[1]]) if found else None


def width_of(architecture: str) -> int | None:
    """The width that a builder has by its name; None where that is not known."""
    found = _sized(architecture)
    return found[0].width(found[1]) if found else None


def patch_of(architecture: str) -> int | None:
    """The patch size in a builder's name."""
    found = re.search(r"_patch(\d{1,3})(?:_|$)", architecture.partition(".")[0])
    return int(found[1]) if found else None


def _sized(architecture: str) -> tuple[Series, str] | None:
    name = architecture.partition(".")[0]
    return next(((series, size) for series in SERIES if (size := series.size(name))), None)
