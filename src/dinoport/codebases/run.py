"""What the config of a training run says about the model: `config.yaml`, as dinov2 and dinov3 write it."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from dinoport.codebases.builder import SaidInTraining
from dinoport.codebases.codebase import Evidence
from dinoport.formats.run_config import START
from dinoport.model import Origin, Setting

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


def contradicted_scale(evidence: Evidence, *, layer_scale: bool) -> tuple[str, ...]:
    """A remark where the run's config says a layer scale and the tensors have none, or the other way round.

    It says with what one begins: 0 or nothing makes none, in both codebases.
    """
    name = "student.layerscale"
    if evidence.config is None or not evidence.config.says(name):
        return ()
    said, has = number(evidence, name) or 0.0, "a" if layer_scale else "no"
    if bool(said) is layer_scale:
        return ()
    return (f"{evidence.config.name} says {name} = {said:g}, the tensors have {has} layer scale: ignored",)


def contradictions(evidence: Evidence, tensors: Mapping[str, Read]) -> Iterator[str]:
    """A remark on each value that the run's config gives and the tensors contradict.

    `tensors` are what they show, by the config's dotted names. What the config does not say contradicts nothing.
    """
    for name, read in tensors.items() if evidence.config else ():
        said_so = flag if isinstance(read, bool) else text if isinstance(read, tuple) else number
        own = said_so(evidence, name)
        if evidence.config and own is not None and own not in (read if isinstance(read, tuple) else (read,)):
            yield f"{evidence.config.name} says {name} = {_shown(own)}, the tensors have {_shown(read)}: ignored"


def _shown(value: Read | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " or ".join(value)
    return value if isinstance(value, str) else f"{value:g}"
