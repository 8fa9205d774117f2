"""What the config of a training run says about the model: `config.yaml`, as dinov2 and dinov3 write it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from dinoport.codebases.builder import SaidInTraining
from dinoport.codebases.codebase import Evidence
from dinoport.codebases.pixel_statistics import statistics_said
from dinoport.formats.run_config import START
from dinoport.model import Origin, Setting
from dinoport.networks.preprocessing import Preprocessing

Read: TypeAlias = bool | float | tuple[str, ...]
"""What tensors show of a setting: a flag, a number, or the texts that all go with them."""


def said(evidence: Evidence, end: str = "") -> SaidInTraining:
    """The builder that the run's config names, under `student`: teacher and student are built alike.

    An `end` of its name that its codebase takes for nothing is left out.
    """
    if evidence.config is None:
        return SaidInTraining("a config")
    patch_size = number(evidence, "student.patch_size")
    arch = text(evidence, "student.arch")
    return SaidInTraining(evidence.config.name, arch.removesuffix(end) if arch else None, patch_size)


def text(evidence: Evidence, name: str) -> str | None:
    return evidence.config.text(name) if evidence.config else None


def number(evidence: Evidence, name: str) -> float | None:
    return evidence.config.number(name) if evidence.config else None


def flag(evidence: Evidence, name: str) -> bool | None:
    return evidence.config.flag(name) if evidence.config else None


def input_size(evidence: Evidence) -> Setting[int] | None:
    """Pixels along one side of the crops that the run trained on, where they are all alike."""
    size = number(evidence, CROPS)
    if evidence.config is not None and evidence.config.name == START:
        return None  # what its table fits, and not what a run has trained on
    if evidence.config is None or size is None or not (0 < size < MAX_CROP and size == int(size)):
        return None
    return Setting("input size", int(size), Origin.INFERRED, f"{CROPS} in {evidence.config.name}")


CROPS = "crops.global_crops_size"

MAX_CROP = 10_000
"""Pixels; a config is not trusted with more."""


def statistics(evidence: Evidence, own: Preprocessing) -> Preprocessing:
    """The same transform with the means and deviations of pixels by which dinov3's run says that it trained."""
    if (config := evidence.config) is None:
        return own
    given = {name: config.value(f"crops.rgb_{name}", None) for name in ("mean", "std")}
    said = statistics_said(given, f"crops.rgb_mean and crops.rgb_std in {config.name}")
    if not said:
        return own
    mean, std = said["image_mean"], said["image_std"]
    if (mean.value, std.value) == (own.mean, own.std):
        return own
    return own.with_stored(mean.value, std.value, mean.reason)


def full_precision(evidence: Evidence) -> Iterator[str]:
    """That a model of dinov3 which its run computed in 8 bits is computed in full here."""
    if (config := evidence.config) and config.value("student.fp8_enabled", None):
        yield f"{config.name} says student.fp8_enabled = true: linear layers ran in 8 bits, and do not here"


def contradictions(evidence: Evidence, tensors: Mapping[str, Read]) -> Iterator[str]:
    """A remark on each value that the run's config gives and the tensors contradict.

    `tensors` are what they show, by the config's dotted names; a part is there where the config has anything but 0 or
    nothing, as the code reads it. What the config does not say contradicts nothing.
    """
    config = evidence.config
    for name, read in tensors.items():
        if config is None or not config.says(name):
            continue
        own = config.value(name, None)
        if isinstance(own, str | Sequence | Mapping) and config.text(name) is None:
            continue  # nothing that can be shown, or that stands elsewhere
        alike = bool(own) is read if isinstance(read, bool) else own in read if isinstance(read, tuple) else own == read
        if not alike and (own is not None or isinstance(read, bool)):
            yield f"{config.name} says {name} = {shown(own)}, the tensors have {_held(read)}: ignored"


def _held(read: Read) -> str:
    if isinstance(read, bool):
        return "such a part" if read else "no such part"
    return " or ".join(read) if isinstance(read, tuple) else f"{read:g}"


def shown(value: object) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
