"""What is computed: what every network offers, and where its forward pass stands."""

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from enum import Enum
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, Protocol

from dinoport.tensor import Shape


class Network(NamedTuple):
    """One way to compute. `title` is what people call it, `module` holds its forward pass.

    `rotation` is the module of rotary positions, for a network that has some: these are compared by themselves.
    """

    name: str
    title: str
    module: str
    rotation: str | None = None

    @property
    def code(self) -> Any:
        """The module of the forward pass. It imports torch, so it is asked for only to verify.

        It has `forward(state, architecture, pixels, observe, **shared)`, which gives outputs by name, and
        `last_attention(state, architecture, blocks, **shared)`, which gives None for a network without attention.
        """
        return import_module(self.module)

    @property
    def rotation_code(self) -> Any:
        """The module of its rotary positions; None without any."""
        return import_module(self.rotation) if self.rotation else None


ROTATION_GATE = 1e-5
"""Largest difference of a sine or cosine that counts as equal. Angles reach 2π, so float32 gives 4e-7 (measured);
periods that bfloat16 rounded give 1e-2, a base of 100.1 for 100 gives 1e-4."""


class Features(str, Enum):
    """What a classifier looks at, after the final norm where there is one."""

    CLS = "the CLS token"
    CLS_MEAN_INTERLEAVED = "CLS token and patch mean, channel by channel in turn"
    CLS_MEAN = "CLS token, then patch mean"
    CLS_AND_DISTILLATION = "the CLS token and the distillation token, each by its own layer; the mean of both"
    NORMED_MEAN = "the patch mean, normed"
    POOLED = "the mean of the last feature map"


class Classifier(NamedTuple):
    """A linear layer over `features`, with one row a class; its tensors are `classifier.weight` and `.bias`.

    A layer for the distillation token is `classifier_dist`.
    """

    features: Features
    classes: int


class Architecture(Protocol):
    """The sizes of one model, and the settings that no shape tells. Frozen dataclasses, one for each network."""

    network: ClassVar[Network]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def channels(self) -> int: ...

    @property
    def classifier(self) -> Classifier | None: ...

    @property
    def image_size(self) -> int:
        """Pixels along a side of the square input that outputs are compared at."""
        ...

    @property
    def cell(self) -> int:
        """Pixels along a side of one patch, or of one place of the last feature map."""
        ...

    @property
    def strides(self) -> Mapping[str, int]:
        """How far each convolution that strides steps over its picture, or might, by the name of its weight."""
        ...

    @property
    def prefix_tokens(self) -> int:
        """How many tokens stand before the patches."""
        ...

    @property
    def positions(self) -> str | None:
        """The name of the table of positions that is resampled for other sizes; None without one."""
        ...

    def tensors(self) -> dict[str, Shape]:
        """Every tensor under its canonical name, buffers included, with its shape."""
        ...


def optional_names(architecture: Any) -> frozenset[str]:
    """The canonical tensors that a network can have and this model has not: those that an option would add."""
    own, more = architecture.tensors().keys(), set[str]()
    for field in fields(architecture):
        value = getattr(architecture, field.name)
        if value is False or (type(value) is int and value == 0):  # a part that is left out, or none of several
            more |= replace(architecture, **{field.name: type(value)(1)}).tensors().keys()
    return frozenset(more - own)
