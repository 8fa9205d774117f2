"""A conversion from its source to a plan: open, find, decode, choose a form, encode. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dinoport.codebases.refusal import refusal
from dinoport.codebases.target import Target
from dinoport.codebases.targets import Writing, writing_of
from dinoport.codebases.transform import transform_settings
from dinoport.codebases.transformers.forms import is_known_class
from dinoport.errors import SettingError
from dinoport.files.byte_sources import ByteSource
from dinoport.finding.adapted import read_adapted
from dinoport.finding.bases import open_base
from dinoport.finding.heads import HeadFile, head_file
from dinoport.finding.models import Provenance, read_model
from dinoport.finding.nearly import not_whole, uneven
from dinoport.finding.sources import Located, locate, locate_head
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.claims import Problem
from dinoport.mapping.encoding import encode
from dinoport.mapping.operations import BakeTable, Kind
from dinoport.mapping.plan import Dropped, Plan
from dinoport.model import CLAIM, Model, Origin, Setting
from dinoport.progress import Progress, silent
from dinoport.request import Request, option_of
from dinoport.shown.address import shown_source
from dinoport.tensor import FLOAT_DTYPES, dtype_name
from dinoport.work.refusals import refuse_done, refuse_unused


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
        return (*made, *self.plan.dropped, *self.model.decoding.aside)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the weights contradict, and what a trainer will stumble over."""
        return (*self.model.warnings, *(self.target.start.warnings if self.target.start else ()))

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
        return transform_settings(self.target.preprocessing, self.target.channels, self.request, self.claimed)

    @property
    def settings(self) -> tuple[Setting[object], ...]:
        """Every value that decides what is computed, of the model and of what is before it."""
        return (*self.model.settings, *self.transform)

    def check_unchanged(self) -> None:
        """Raise CheckpointError if a file is not what it was when it was opened."""
        for source in self.sources:
            source.check_unchanged()

    def __enter__(self) -> Conversion:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.close()


MADE = "made for the class, and no part of the original"


def prepare(
    source: str | Path,
    request: Request,
    on_progress: Progress = silent,
    *,
    look: bool = False,
    claimed: frozenset[str] = frozenset(),
    again: bool = False,
    weigh_heads: bool = False,
    recorded: str | None = None,
) -> Conversion:
    """Find, open and plan a conversion. Raises DinoportError with everything that stands in the way.

    To `look` at a source, it need not be downloaded. `again` plans what was done already, to prove it. `weigh_heads`
    holds the number of heads against the weights; `recorded` is the family that a folder which is verified records.
    """
    with ExitStack() as files:
        located = locate(source, on_progress, look=look, head=request.head)
        checkpoint = files.enter_context(located.open(on_progress))
        conversion = prepare_opened(
            located,
            checkpoint,
            request,
            on_progress,
            claimed,
            again=again,
            weigh_heads=weigh_heads,
            recorded=recorded,
        )
        conversion.files.push(files.pop_all())
        return conversion


def prepare_opened(
    located: Located,
    checkpoint: Checkpoint,
    request: Request,
    on_progress: Progress = silent,
    claimed: frozenset[str] = frozenset(),
    *,
    again: bool = False,
    weigh_heads: bool = False,
    recorded: str | None = None,
) -> Conversion:
    """Plan the conversion of a checkpoint that is open, and that the caller closes. Raises as `prepare` does."""
    refuse_unused(checkpoint, request, claimed)
    with ExitStack() as files:
        head, opened = None, None
        if request.head is not None:
            located_head = locate_head(request.head, located, on_progress)
            opened = files.enter_context(located_head.open(on_progress))
            head = _head(opened, located_head, request.head_name)
        published = located.published.family if located.published and located.fetched else None
        base = None
        if checkpoint.adapter is not None:
            base = files.enter_context(open_base(checkpoint, request, on_progress))
            model, provenance = read_adapted(checkpoint, base, request, claimed, weigh_heads=weigh_heads)
            checkpoint = replace(checkpoint, sources=(*checkpoint.sources, *base.sources))
        else:
            model, provenance = read_model(
                checkpoint,
                request,
                head,
                claimed,
                weigh_heads=weigh_heads,
                published=published,
                recorded=recorded,
            )
        _refuse_folder(checkpoint if base is None else base, located.path if base is None else Path(base.where))
        if base is None and is_known_class(checkpoint.config or {}):
            from dinoport.codebases.transformers.reading import refuse_unlike

            refuse_unlike(checkpoint.where, checkpoint.config or {}, model)
        if not again:
            refuse_done(checkpoint, model, provenance, request)
        writing = writing_of(request.to)
        target = writing.target_of(model, request, _labels(request, model))
        if target.start:
            model = replace(model, decoding=model.decoding.carrying(target.start.carried))
        encoding = encode(
            model.tensors,
            target.rules,
            FLOAT_DTYPES[request.dtype] if request.dtype else None,
            model.decoding.declared,
            target.anew,
        )
        problems = (*encoding.problems, *_unreadable(model, encoding.plan))
        if problems:
            if lines := [*uneven({name: tensor.shape for name, tensor in model.tensors.items()})]:
                raise not_whole(checkpoint.where, model.family.title, provenance.prefix, lines)
            raise refusal(checkpoint.where, model.family, provenance.label, problems)
        return Conversion(
            request=request,
            located=located,
            checkpoint=checkpoint,
            model=model,
            provenance=provenance,
            writing=writing,
            target=target,
            plan=encoding.plan,
            head=opened,
            claimed=claimed,
            files=files.pop_all(),
        )


def _refuse_folder(checkpoint: Checkpoint, path: Path | None) -> None:
    """Raise SettingError for a folder of Transformers whose configs open something, or that has more beside it."""
    if not is_known_class(checkpoint.config or {}):
        return
    from dinoport.proofs.foreign import refuse_beside, refuse_foreign, refuse_read_beside

    refuse_foreign(checkpoint.where, checkpoint.config or {}, checkpoint.tensors)
    refuse_read_beside(checkpoint.where, checkpoint.beside)
    if path is not None and path.is_dir():
        refuse_beside(path)


def _head(checkpoint: Checkpoint, located: Located, name: str | None) -> HeadFile:
    return head_file(checkpoint, name, " ".join(located.remarks) or None)


def _labels(request: Request, model: Model) -> Mapping[int, str] | None:
    """The names of the classes: the user's, else those that the source has."""
    if request.labels is None:
        return model.labels
    classifier = model.architecture.classifier
    if classifier is None:
        raise SettingError(
            "`labels` needs a classifier, and this checkpoint has none",
            expected="a plain classifier in the checkpoint, or `head=FILE`",
            found="a backbone",
            next_step="leave `labels` out, or add `head=FILE`",
        )
    from dinoport.codebases.transformers.labels import read_labels

    return read_labels(request.labels, classifier.classes)


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


def _unreadable(model: Model, plan: Plan) -> list[Problem]:
    """Tensors that the plan wants and that hold no weights."""
    problems = []
    for step in plan.steps if plan.steps else ():
        for span in step.spans if step.kind is not Kind.SYNTHESISED else ():
            name = span.tensor.name
            if not (span.tensor.is_float or name.endswith((".num_batches_tracked", ".bias_mask"))):
                what = f"holds {dtype_name(span.tensor.dtype)} where weights of a floating dtype were expected"
                problems.append(Problem(name, what))
    return list(dict.fromkeys(problems))


def _of_channels(target: Target) -> list[str]:
    if target.channels == 3 or not target.config:
        return []
    count = f"{target.channels} channel{'' if target.channels == 1 else 's'}"
    return [
        f"the model takes {count}, and gets no image processor, because the one that fits its training is not known"
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
