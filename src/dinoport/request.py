"""What a user asks of a conversion: one object for the command line, the API, and the dinoport.json of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dinoport.errors import UsageError
from dinoport.shown.address import shown_source
from dinoport.shown.text import counted

DTYPES = ("float32", "float16", "bfloat16")
POOLERS = ("identity", "none")
INTERPOLATIONS = ("offset", "size", "size-antialias", "bilinear-antialias")

MIN_EPS, MAX_EPS = 1e-12, 0.1
"""Of LayerNorm. A larger one is a slip: it would outweigh the variance that it keeps from zero."""

TARGETS = ("transformers", "timm", "original", "training")
PROVING = ("full", "exact")
LEVELS = (*PROVING, "none")

FILES = ("head", "labels", "config", "base")
"""The fields of a request that may name a file."""

CHOICES = {"dtype": DTYPES, "interpolation": INTERPOLATIONS, "pooler": POOLERS, "to": TARGETS, "level": LEVELS}
"""The fields that take one of a few names."""

ALIASES = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}
"""Names of dtypes elsewhere, which are not taken: a refusal names what is meant."""

MAX_IMAGE_SIZE, MAX_HEADS, MAX_CHANNELS = 4096, 1024, 1024
"""What no model comes near; more would ask for memory without end."""

MIN_DEVIATION = 1e-4
"""Of pixels from 0 to 1: a fortieth of a grey level. A smaller one would make numbers that float32 does not hold."""

MAX_JOBS = 1024
"""Of a fleet, at a time on one machine."""

MAX_RANKS = 4096

MIN_SHARD_BYTES, MAX_SHARD_BYTES = 1000, 10**15

MIN_MEMORY_BYTES = 10**6
"""Of a fleet. Less is a number whose unit was left out."""

DEFAULT_SHARD_BYTES = 5_000_000_000

DEFAULT_SIZE = 480
DEFAULT_MASS = 0.6
"""Of `visualize`: what `visualize_attention.py` of facebookresearch/dino takes by default."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, beyond source and target. None means: as the source has it.

    Each field is an option of `dinoport convert`, which explains it: `num_heads` is `--num-heads`. Raises UsageError
    for a value that the field does not take.
    """

    checkpoint_key: str | None = None
    prefix: str | None = None
    head: str | Path | None = None
    head_name: str | None = None
    labels: str | Path | None = None
    dtype: str | None = None
    image_size: int | None = None
    num_heads: int | None = None
    decoder_heads: int | None = None
    layer_norm_eps: float | None = None
    interpolation: str | None = None
    codebase: str | None = None
    class_name: str | None = None
    lora_alpha: float | None = None
    base: str | Path | None = None
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    pooler: str = "identity"
    to: str = "transformers"
    max_shard_bytes: int = DEFAULT_SHARD_BYTES
    allow_nonfinite: bool = False
    config: str | Path | None = None
    ranks: int = 1
    source_name: str | None = None
    """A name for the source in the report, in place of its path. It does not change the folder."""

    def __post_init__(self) -> None:
        _check(self)

    def updated(self, other: Request | None) -> Request:
        """The same request, with whatever `other` gives in its place."""
        if other is None:
            return self
        updated = Request.from_dict({**self.to_dict(), **other.to_dict()})
        return replace(updated, source_name=other.source_name or self.source_name)

    def to_dict(self) -> dict[str, object]:
        """What was asked for, as JSON-ready data: only what is not the default."""
        asked = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: shown_source(value)
            if name in ("head", "config", "base")
            else list(value)
            if isinstance(value, tuple)
            else str(value)
            if isinstance(value, Path)
            else value
            for name, value in asked.items()
            if value != getattr(Request, name) and name != "source_name"
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

    `level` is `full`, `exact` (needs no torch) or `none`. `image` is a picture to compare on. `all_sizes` compares at
    two more sizes. `reference` runs the original's own code for a second proof of the outputs: code in a folder with a
    hubconf.py, or code that torch.hub downloads (`hub`). `processor` is for a graph that others exported: the folder
    whose image processor prepares its pictures. `pictures` keeps what a page draws.
    """

    level: str = "full"
    image: Path | None = None
    all_sizes: bool = False
    reference: str | None = None
    processor: Path | None = None
    pictures: bool = False

    def __post_init__(self) -> None:
        _check(self)


def _check(asked: Request | Checks) -> None:
    """Raise UsageError for the first field with a value that it does not take."""
    for field in fields(asked):
        value = getattr(asked, field.name)
        if value is not field.default:
            check_fits(field.name, value)


LEAST_BYTE = 10
"""From which on a mean or a deviation is one of numbers from 0 to 255."""


def check_fits(name: str, value: object) -> None:
    """Raise UsageError for a value that the field, or argument, of this name does not take."""
    fits, expected = _FITTING.get(name, (None, ""))
    if fits is None or fits(value):
        return
    found, in_bytes = _told(value) if value != "" else "nothing", False
    if isinstance(value, tuple):
        found = f"{counted(len(value), 'number')}: {', '.join(map(_told, value))}"
        in_bytes = any(isinstance(each, int | float) and LEAST_BYTE <= each <= 255 for each in value)
    raise UsageError(
        f"`{name}` takes {expected}",
        expected="three for RGB, such as 0.485,0.456,0.406" if name in ("image_mean", "image_std") else None,
        found=found,
        cause="numbers from 0 to 255: divide them by 255" if in_bytes else None,
        next_step=f"`{name}={meant(_told(value), CHOICES[name])!r}`" if name in CHOICES else None,
    )


def _told(value: object) -> str:
    """A value as a message gives it; Python refuses to write numbers of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"


def meant(word: str, names: Sequence[str]) -> str:
    """The name that is most like a word."""
    from difflib import get_close_matches

    known = {name: name for name in names} | {name: other for name, other in ALIASES.items() if other in names}
    return known[(get_close_matches(word.strip("'"), known, n=1) or [names[0]])[0]]


def options_of(asked: Mapping[str, object]) -> dict[str, str]:
    """What was asked for, as options of the command line with their values."""
    return {
        option_of(name): ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in asked.items()
    }


def words_of(asked: Mapping[str, object]) -> list[str]:
    """What was asked for, word by word as on the command line: a switch has no value."""
    return [word for pair in options_of(asked).items() for word in (pair if pair[1] != "True" else pair[:1])]


OPTIONS = {
    "class_name": "--class",
    "max_shard_bytes": "--max-shard-size",
    "level": "--verify",
    "as_json": "--json",
    "at_once": "--jobs",
    "memory_bytes": "--memory",
}
"""Fields that the command line calls otherwise."""


def option_of(name: str) -> str:
    """The option of the command line for a field."""
    return OPTIONS.get(name) or f"--{name.replace('_', '-')}"


def _is_whole(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_number(least: float, most: float) -> Callable[[object], bool]:
    """Neither NaN nor infinite, as no comparison with these holds."""
    return lambda value: isinstance(value, int | float) and type(value) is not bool and least <= value <= most


def _is_for_channels(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and 0 < len(value) <= MAX_CHANNELS and all(map(fits, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str | Path) and bool(str(value)) and "\0" not in str(value)


_FITTING: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "checkpoint_key": (_is_text, "a name"),
    "prefix": (_is_text, "keys and parts of names, joined by dots"),
    "head": (_is_text, "a path"),
    "class_name": (_is_text, "a class of Transformers"),
    "codebase": (_is_text, "a name, as dinoport names codebases"),
    "head_name": (_is_text, "the name of a layer"),
    "source_name": (_is_text, "a name"),
    "labels": (_is_text, "a path, or imagenet-1k"),
    "at_once": (_is_whole(1, MAX_JOBS), f"a whole number of jobs from 1 to {MAX_JOBS}"),
    "memory_bytes": (_is_whole(MIN_MEMORY_BYTES, MAX_SHARD_BYTES), "a size from 1 MB to 1000 TB, such as 16GB"),
    "max_shard_bytes": (_is_whole(MIN_SHARD_BYTES, MAX_SHARD_BYTES), "a size from 1 kB to 1000 TB"),
    "image_size": (_is_whole(1, MAX_IMAGE_SIZE), f"a whole number of pixels from 1 to {MAX_IMAGE_SIZE}"),
    "num_heads": (_is_whole(1, MAX_HEADS), f"a whole number of heads from 1 to {MAX_HEADS}"),
    "decoder_heads": (_is_whole(1, MAX_HEADS), f"a whole number of heads from 1 to {MAX_HEADS}"),
    "layer_norm_eps": (_is_number(MIN_EPS, MAX_EPS), f"a small positive number from {MIN_EPS} to {MAX_EPS}"),
    "lora_alpha": (_is_number(1e-6, 1e6), "a positive number, as lora_alpha of PEFT's config"),
    "image_mean": (_is_for_channels(_is_number(0, 1)), "one number for each channel, from 0 to 1"),
    "image_std": (
        _is_for_channels(_is_number(MIN_DEVIATION, 1)),
        f"one number for each channel, from {MIN_DEVIATION} to 1",
    ),
    "config": (_is_text, "a path"),
    "base": (_is_text, "a path, a published name or an address"),
    "ranks": (_is_whole(1, MAX_RANKS), f"a whole number of processes from 1 to {MAX_RANKS}"),
    "size": (_is_whole(1, MAX_IMAGE_SIZE), f"a whole number of pixels from 1 to {MAX_IMAGE_SIZE}"),
    "mass": (lambda value: _is_number(0, 1)(value) and value not in (0, 1), "a number between 0 and 1, such as 0.6"),
    **{name: (names.__contains__, f"one of {', '.join(names)}") for name, names in CHOICES.items()},
}
"""For each field or argument that does not take every value: what it takes, in code and in words."""
