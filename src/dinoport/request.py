"""What a user asks of a conversion: one object for the command line, the API, and the dinoport.json of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dinoport.errors import UsageError
from dinoport.files.address import shown_source

DTYPES = ("float32", "float16", "bfloat16")
POOLERS = ("identity", "none")
INTERPOLATIONS = ("offset", "size", "size-antialias")

MAX_EPS = 0.1
"""Of LayerNorm. A larger one is a slip: it would outweigh the variance that it keeps from zero."""

TARGETS = ("transformers", "original")
LEVELS = ("full", "exact", "none")

CHOICES = {"dtype": DTYPES, "interpolation": INTERPOLATIONS, "pooler": POOLERS, "to": TARGETS, "level": LEVELS}
"""The fields that take one of a few names."""

ALIASES = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}
"""Names of dtypes elsewhere, which are not taken: a refusal names what is meant."""

DEFAULT_SHARD_BYTES = 5_000_000_000

DEFAULT_SIZE = 480
DEFAULT_MASS = 0.6
"""Of `visualize`: what `visualize_attention.py` of facebookresearch/dino takes by default."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, beyond source and target. None means: as the source has it.

    Raises UsageError for a value that no conversion can mean, wherever it came from.
    """

    checkpoint_key: str | None = None
    prefix: str | None = None
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
        _check(self)

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
        _check(self)


def _check(asked: Request | Checks) -> None:
    """Raise UsageError for the first field whose value cannot be meant."""
    for field in fields(asked):
        value = getattr(asked, field.name)
        fits, expected = _FITTING.get(field.name, (None, ""))
        if fits is None or value == field.default or fits(value):
            continue
        in_bytes = isinstance(value, tuple) and any(isinstance(each, int | float) and each > 1 for each in value)
        raise UsageError(
            f"`{field.name}` takes {expected}",
            expected="0.485,0.456,0.406" if fits in (_is_statistics, _is_deviation) else None,
            found=repr(value) if value != "" else "nothing",
            cause="numbers from 0 to 255: divide them by 255" if in_bytes else None,
            next_step=f"`{field.name}={meant(str(value), CHOICES[field.name])}`" if field.name in CHOICES else None,
        )


def meant(word: str, names: Sequence[str]) -> str:
    """The name that is most like a word that is none of them."""
    from difflib import get_close_matches

    known = {name: name for name in names} | {name: other for name, other in ALIASES.items() if other in names}
    return known[(get_close_matches(word, known, n=1) or [names[0]])[0]]


def options_of(asked: Mapping[str, object]) -> dict[str, str]:
    """What was asked for, as options of the command line with their values."""
    return {
        option_of(name): ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in asked.items()
    }


OPTIONS = {"max_shard_bytes": "--max-shard-size", "level": "--verify", "as_json": "--json"}
"""Fields that the command line calls otherwise."""


def option_of(name: str) -> str:
    """The option of the command line for a field."""
    return OPTIONS.get(name) or f"--{name.replace('_', '-')}"


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_eps(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 < value <= MAX_EPS


def _is_statistics(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(type(each) in (int, float) and 0 <= each <= 1 for each in value)
    )


def _is_deviation(value: Any) -> bool:
    return _is_statistics(value) and 0 not in value


def _is_text(value: object) -> bool:
    return isinstance(value, str | Path) and bool(str(value))


_FITTING: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "checkpoint_key": (_is_text, "a name"),
    "prefix": (_is_text, "keys and parts of names, joined by dots"),
    "head": (_is_text, "a path"),
    "labels": (_is_text, "a path, or imagenet-1k"),
    "max_shard_bytes": (_is_count, "a number of bytes above 0"),
    "image_size": (_is_count, "a whole number of pixels above 0"),
    "num_heads": (_is_count, "a whole number of heads above 0"),
    "layer_norm_eps": (_is_eps, f"a small positive number, {MAX_EPS} at most"),
    "image_mean": (_is_statistics, "one number for each channel, from 0 to 1"),
    "image_std": (_is_deviation, "one number for each channel, above 0 and up to 1"),
    **{name: (names.__contains__, f"one of {', '.join(names)}") for name, names in CHOICES.items()},
}
"""For each field that does not take everything: what can be meant by it, in code and in words."""
