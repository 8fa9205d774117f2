"""What the config of a training run says about the model: `config.yaml`, as dinov2 and dinov3 write it."""

from __future__ import annotations

from dinoport.families.builder import Said
from dinoport.families.family import Evidence


def said(evidence: Evidence) -> Said:
    """The builder that the run's config names, under `student`: teacher and student are built alike."""
    if evidence.config is None:
        return Said("a config")
    patch_size = number(evidence, "student.patch_size")
    return Said(evidence.config.path.name, text(evidence, "student.arch"), patch_size)


def text(evidence: Evidence, name: str) -> str | None:
    return evidence.config.text(name) if evidence.config else None


def number(evidence: Evidence, name: str) -> float | None:
    return evidence.config.number(name) if evidence.config else None


def flag(evidence: Evidence, name: str) -> bool | None:
    return evidence.config.flag(name) if evidence.config else None


def crop_size(evidence: Evidence) -> int | None:
    """Pixels along one side of the crops that the run trained on, where they are all alike."""
    size = number(evidence, "crops.global_crops_size")
    return int(size) if size is not None and size == int(size) and 0 < size < MAX_CROP else None


MAX_CROP = 10_000
"""Pixels; a config is not trusted with more."""
