"""A conversion that is planned: the open source, its model, what it becomes, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.codebases.target import Target
from dinoport.codebases.targets import Writing
from dinoport.codebases.transformers.poolers import is_pooler
from dinoport.files.byte_sources import ByteSource
from dinoport.finding.models import Provenance
from dinoport.finding.sources import Located
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.plan import Dropped, Plan
from dinoport.model import CLAIM, Model, Origin, Setting, Wishes
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import Request, option_of
from dinoport.shown.address import shown_source
from dinoport.shown.text import counted
from dinoport.tensor import FLOAT_DTYPES, dtype_name

POOLER_LEFT = "the pooler of the source is left aside, so `pooler_output` is not the source's"


@dataclass
class Conversion:
    """A conversion that is planned and can be written: the open source, its model, what it becomes, and by which steps.

    Use it as a context manager: it keeps the source's files open. `claimed` are the fields of the request that only a
    folder's report gives.
    """

    request: Request
    located: Located
    checkpoint: Checkpoint
    model: Model
    provenance: Provenance
    writing: Writing
    target: Target
    plan: Plan
    head: Checkpoint | None = None
    claimed: frozenset[str] = frozenset()
    files: ExitStack = field(default_factory=ExitStack)

    @property
    def cast(self) -> np.dtype[Any] | None:
        """The dtype that weights are rounded to."""
        return FLOAT_DTYPES[self.request.dtype] if self.request.dtype else None

    @property
    def baked(self) -> BakeTable | None:
        """How the position table was resampled, if it was."""
        return next((s.operation for s in self.plan.steps if isinstance(s.operation, BakeTable)), None)

    @property
    def documents(self) -> dict[str, dict[str, object]]:
        """What the target has besides its weights, as data."""
        genuine = self.located.genuine(self.model.family.name)
        return self.writing.documents(self.target, self.plan, self.lost, genuine.licence if genuine else None)

    @property
    def lost(self) -> tuple[str, ...]:
        """The parts of the original that do not return, by the first word of their names: `dino_head`."""
        gone = [each.name.partition(".")[0] for each in self.dropped if not each.returns]
        return tuple(dict.fromkeys([*self.model.lost, *gone]))

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """Everything of the source that the target does not hold."""
        made = (
            Dropped(each.tensor.name, each.tensor.dtype, each.tensor.shape, f"{MADE} ({each.rule.reason})", True)
            for each in self.model.decoding.made
        )
        dropped = (*made, *self.plan.dropped, *self.model.decoding.aside)
        if self.target.start is None:
            return dropped
        return tuple(each._replace(reason=each.anew or each.reason) for each in dropped)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the weights contradict, what a class will give otherwise, and what a trainer will stumble over."""
        start = self.target.start.warnings if self.target.start else ()
        left = self.request.to == "transformers" and any(is_pooler(each.name) for each in self.model.decoding.aside)
        return (*self.model.warnings, *((POOLER_LEFT,) if left else ()), *start)

    @property
    def remarks(self) -> tuple[str, ...]:
        own = (*self.located.remarks, *self.model.remarks, *self.target.remarks)
        remarks = (*own, *_of_dtypes(self.plan), *_of_channels(self.target), *_of_classes(self.target))
        name = self.request.source_name
        return tuple(remark.replace(self.checkpoint.where, name) for remark in remarks) if name else remarks

    @property
    def source_name(self) -> str:
        """What a report calls the source."""
        return self.request.source_name or self.checkpoint.where

    @property
    def sources(self) -> tuple[ByteSource, ...]:
        """Every file that is read: the checkpoint's, and the head's where it is a file of its own."""
        return (*self.checkpoint.sources, *(self.head.sources if self.head else ()))

    def assumed(self, *, resampled: bool) -> tuple[Setting[object], ...]:
        """The values that the verdict rests on and that no proof can see, whoever says them.

        `resampled` says that a proof resampled the position table, beside what was baked into the folder.
        """
        settings = self.model.assumed(resampled=resampled or self.target.baked_from is not None)
        return (*settings, *self.transform, *_said(self.request, self.claimed))

    @property
    def transform(self) -> tuple[Setting[object], ...]:
        """How pictures become the target's input."""
        target = self.target
        return tuple(transform_settings(target.preprocessing, target.channels, self.request, self.claimed))

    @property
    def settings(self) -> tuple[Setting[object], ...]:
        """Every value that decides what is computed: the model's, and those of its input."""
        return (*self.model.settings, *self.transform)

    def check_unchanged(self) -> None:
        """Raise CheckpointError if a file is not what it was when it was opened."""
        for source in self.sources:
            source.check_unchanged()

    def __enter__(self) -> Conversion:
        return self

    def __exit__(self, *raised: object) -> None:
        self.files.close()


def transform_settings(
    transform: Preprocessing | None, channels: int, request: Request, claimed: frozenset[str]
) -> Iterator[Setting[object]]:
    """The statistics, resize, crop and filter of the target, each with its origin.

    Where a model takes other than three channels, only the values that the user gave are known. `claimed` are the
    fields of the request that only a folder says.
    """
    wishes = Wishes(claimed=claimed)
    known = transform if channels == 3 else None
    for own in ("mean", "std"):
        given: tuple[float, ...] | None = getattr(request, f"image_{own}")
        if given is not None:
            yield Setting(f"pixel {own}", _text(given), *wishes.said(f"image_{own}"))
        elif known is not None:
            yield Setting(f"pixel {own}", _text(getattr(known, own)), *_who_says(known, own))
    if known is not None:
        square = f"{known.resize}×{known.resize}"
        yield Setting(
            "resize", square if known.crop is None else f"shorter side to {known.resize}", *_who_says(known, "resize")
        )
        yield Setting("crop", f"centre {known.crop}×{known.crop}" if known.crop else "none", *_who_says(known, "crop"))
        yield Setting("filter", f"{known.resample}, antialiased", *_who_says(known, "resample"))


def _who_says(transform: Preprocessing, field: str) -> tuple[Origin, str]:
    """Where a field of a transform comes from."""
    who = transform.stored.get(field)
    return (Origin.ASSUMED, transform.reason) if who is None else (Origin.STORED, who)


def _text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


MADE = "made for the class, and no part of the original"


def _said(request: Request, claimed: frozenset[str]) -> Iterator[Setting[object]]:
    """What the user or only a folder says of the original, and stands in no architecture.

    What a folder says of itself (dtype, image size, pooler) rests on no one's word: it is compared as it is, and the
    verdict names what it changes.
    """
    for name in ("checkpoint_key", "head", "labels"):
        value = getattr(request, name)
        if value is None or (name == "checkpoint_key" and name not in claimed):
            continue
        origin, reason = (Origin.CLAIMED, CLAIM) if name in claimed else (Origin.GIVEN, option_of(name))
        # The card is published: of a file it gives the name, and not where it lay.
        text = str(value) if name == "checkpoint_key" else Path(shown_source(value)).name
        yield Setting(name.replace("_", " "), text, origin, reason)


def _of_channels(target: Target) -> list[str]:
    if target.channels == 3 or not target.config:
        return []
    channels = counted(target.channels, "channel")
    return [
        f"the model takes {channels}, and gets no image processor, because the one that fits its training is not known"
    ]


def _of_classes(target: Target) -> Iterator[str]:
    """Which other classes hold the model, and which library a class needs."""
    if target.others:
        yield f"{', '.join(target.others)} would hold it too ({option_of('class_name')})"
    if target.since:
        yield f"{target.form} is in {target.since} and later alone"


def _of_dtypes(plan: Plan) -> list[str]:
    names = sorted({dtype_name(step.target.dtype) for step in plan.steps if step.target.dtype in FLOAT_DTYPES.values()})
    if len(names) < 2:
        return []
    return [f"weights of mixed dtypes are kept as they are ({', '.join(names)}); libraries load all of them as one"]
