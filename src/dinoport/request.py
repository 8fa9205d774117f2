"""What a user asks of a conversion: one object for the command line, the API, and the dinoport.json of a folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dinoport.errors import SettingError
from dinoport.files.address import shown_source

DTYPES = ("float32", "float16", "bfloat16")
POOLERS = ("identity", "none")
INTERPOLATIONS = ("offset", "size", "size-antialias")

MAX_EPS = 0.1
"""Of LayerNorm. A larger one is a slip: it would outweigh the variance that it keeps from zero."""

TARGETS = ("transformers", "original")
LEVELS = ("full", "exact", "none")

DEFAULT_SHARD_BYTES = 5_000_000_000

DEFAULT_SIZE = 480
DEFAULT_MASS = 0.6
"""Of `visualize`: what `visualize_attention.py` of facebookresearch/dino takes by default."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, beyond source and target. None means: as the source has it.

    Raises SettingError for a value that no conversion can mean, wherever it came from.
    """

    checkpoint_key: str | None = None
    head: str | Path | None = None
    labels: str | None = None
    dtype: str | None = None
    image_size: int | None = None
    num_heads: int | None = None
    layer_norm_eps: float | None = None
    interpolation: str | None = None
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    pooler: str = "identity"
    to: str = "transformers"
    max_shard_bytes: int = DEFAULT_SHARD_BYTES
    allow_nonfinite: bool = False

    def __post_init__(self) -> None:
        for name in _FITTING:
            value = getattr(self, name)
            if expected := what_fits(name, value):
                raise SettingError(
                    f"{name} cannot be {value!r}", expected=expected, next_step=f"leave it out, or give {expected}"
                )
        for name, allowed in (("pooler", POOLERS), ("to", TARGETS)):
            if (value := getattr(self, name)) not in allowed:
                raise SettingError(
                    f"{name} cannot be {value!r}", expected=" or ".join(map(repr, allowed)), found=repr(value)
                )

    def updated(self, other: Request | None) -> Request:
        """The same request, with whatever `other` gives in its place."""
        return Request.from_dict({**self.to_dict(), **other.to_dict()}) if other else self

    def to_dict(self) -> dict[str, object]:
        """What was asked for, as JSON-ready data: only what is not the default."""
        asked = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: shown_source(value) if name == "head" else list(value) if isinstance(value, tuple) else value
            for name, value in asked.items()
            if value != getattr(Request, name)
        }

    @classmethod
    def from_dict(cls, asked: Mapping[str, Any]) -> Request:
        """The inverse of `to_dict`."""
        known = {field.name for field in fields(cls)} & asked.keys()
        values: dict[str, Any] = {name: asked[name] for name in known}
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


@dataclass(frozen=True)
class Checks:
    """What is asked of a proof.

    `level` is full, exact (needs no torch) or none. `image` is a picture to compare on, `all_sizes` adds two sizes.
    `reference` runs the original's own code for a second proof of the outputs: from a folder with a hubconf.py, or with
    `hub` from where torch.hub downloads it. `pictures` keeps what a page shows beside the figures.
    """

    level: str = "full"
    image: Path | None = None
    all_sizes: bool = False
    reference: str | None = None
    pictures: bool = False

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise SettingError(
                f"level cannot be {self.level!r}", expected=" or ".join(map(repr, LEVELS)), found=repr(self.level)
            )


def what_fits(name: str, value: object) -> str | None:
    """What a field of a request takes, in words, if `value` is no such thing."""
    fits, expected = _FITTING[name]
    return None if value is None or fits(value) else expected


def options_of(asked: Mapping[str, object]) -> dict[str, str]:
    """What was asked for, as options of the command line with their values."""
    return {
        option_of(name): ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in asked.items()
    }


def option_of(name: str) -> str:
    """The option of the command line for a field of a request."""
    return "--max-shard-size" if name == "max_shard_bytes" else f"--{name.replace('_', '-')}"


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_eps(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 < value <= MAX_EPS


def _is_statistics(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(type(each) in (int, float) and math.isfinite(each) for each in value)
    )


def _is_deviation(value: Any) -> bool:
    return _is_statistics(value) and all(each > 0 for each in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str | Path) and bool(str(value))


_FITTING: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "checkpoint_key": (_is_text, "a name"),
    "head": (_is_text, "a path"),
    "labels": (_is_text, "a path, or imagenet-1k"),
    "dtype": (DTYPES.__contains__, ", ".join(DTYPES)),
    "max_shard_bytes": (_is_count, "a number of bytes above 0"),
    "image_size": (_is_count, "a whole number of pixels above 0"),
    "num_heads": (_is_count, "a whole number of heads above 0"),
    "layer_norm_eps": (_is_eps, f"a small positive number, {MAX_EPS} at most"),
    "interpolation": (INTERPOLATIONS.__contains__, ", ".join(INTERPOLATIONS)),
    "image_mean": (_is_statistics, "one number for each channel"),
    "image_std": (_is_deviation, "one positive number for each channel"),
}
"""For each value that may be left out: what can be meant by it, in code and in words."""
