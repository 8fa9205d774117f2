"""The number of heads, held against the weights: they confirm it, contradict it, or cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dinoport.errors import SettingError
from dinoport.model import AGREE, Origin, Setting
from dinoport.shown.text import counted

if TYPE_CHECKING:
    from dinoport.networks.heads.reading import HeadReading
    from dinoport.tensor import TensorRef

UNSEEN = "no tensor's shape shows the head count, and a wrong one loads without an error"


class Weighed(NamedTuple):
    """A number of heads, what the weights say of it, and a warning where they contradict whoever said it."""

    setting: Setting[int]
    reading: HeadReading | None = None
    warnings: tuple[str, ...] = ()


def head_reader(tensors: Mapping[str, TensorRef], width: int) -> Callable[[], HeadReading]:
    """A function that reads the heads off canonical tensors. Nothing is read, nor imported, before it is called."""

    def read() -> HeadReading:
        from dinoport.formats.values import announce
        from dinoport.networks.heads.channels import attention_weights
        from dinoport.networks.heads.reading import MIN_WIDTH, evenly_spaced, read_heads

        # Of a model that is too narrow nothing is asked of a server either.
        layers = evenly_spaced(attention_weights(tensors, width)) if width >= MIN_WIDTH else []
        announce(tensor for layer in layers for tensor in (layer.values, layer.projection))
        return read_heads(layers, width)

    return read


def weighed(where: str, setting: Setting[int], reading: HeadReading) -> Weighed:
    """Hold what was assumed or said against the weights.

    A value that they confirm is neither assumed nor merely claimed any more. One that they contradict is still followed
    where the user, a config or the file says it, and refused with a SettingError where nobody does.
    """
    found = reading.found
    if found is None:
        return Weighed(setting, reading)
    if found == setting.value:
        if setting.origin in (Origin.STORED, Origin.INFERRED):
            return Weighed(replace(setting, doubted=False), reading)
        reason = f"{setting.reason}{AGREE}: {figures(reading, found)}"
        return Weighed(replace(setting, origin=Origin.READ, reason=reason, doubted=False), reading)
    if setting.origin is Origin.ASSUMED:
        raise _contradicted(where, setting, reading, found)
    says = f"the weights look like {looks(reading, found)}: {figures(reading, found, setting.value)}"
    return Weighed(setting, reading, (f"{setting} is followed, but {says}",))


def read_from_weights(reading: HeadReading) -> Weighed | None:
    """What the weights say where no convention gives a value; None where they cannot tell."""
    found = reading.found
    if found is None:
        return None
    return Weighed(Setting("heads", found, Origin.READ, f"the weights: {figures(reading, found)}"), reading)


def looks(reading: HeadReading, heads: int) -> str:
    return f"{counted(heads, 'head')} of {reading.width // heads}"


def figures(reading: HeadReading, found: int, other: int | None = None) -> str:
    """How strong the boundaries are inside heads as found, and inside larger ones: those of `other`, or the weakest."""
    larger = [score for score in reading.scores if score.heads < found]
    own = next(score for score in reading.scores if score.heads == found)
    rivals = [score for score in larger if score.heads == other]
    weakest = min((score.inside for score in larger), default=0)
    beside = f"{rivals[0].inside:.0f} inside {rivals[0].head_dim}" if rivals else f"{weakest:.0f} or more in more"
    return f"boundaries of {own.inside:.1f} inside {own.head_dim} channels and {beside}; chance is 1"


def _contradicted(where: str, setting: Setting[int], reading: HeadReading, found: int) -> SettingError:
    return SettingError(
        f"the weights of {where} look like {looks(reading, found)}, not {looks(reading, setting.value)}",
        expected=f"{looks(reading, setting.value)}: {setting.reason}, as in all published models",
        found=figures(reading, found, setting.value),
        cause=f"a model that was built with another number of heads; {UNSEEN}",
        next_step=f"add `num_heads={found}`, or `num_heads={setting.value}` where the code or config that trained the "
        "model says so",
    )
