"""From a source to a plan: open, unwrap, recognise, read the architecture, choose the class. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dinoport.codebases import catalogue as families
from dinoport.codebases.dialect import Translation, translate
from dinoport.codebases.family import Evidence, Family, Reading
from dinoport.codebases.published import file_name
from dinoport.codebases.refusal import refusal
from dinoport.codebases.setting import Setting, Wishes
from dinoport.codebases.transformers.catalogue import choose
from dinoport.codebases.transformers.labels import read_labels
from dinoport.codebases.transformers.original import is_known_class
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.errors import SettingError
from dinoport.files.byte_sources import ByteSource
from dinoport.finding.sources import Located, locate, locate_head
from dinoport.finding.unwrap import StateDict, state_dicts, training_arguments
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.folding import fold_names
from dinoport.mapping.plan import Plan
from dinoport.mapping.resolve import Problem, forwards
from dinoport.progress import Progress, silent
from dinoport.request import Request
from dinoport.tensor import FLOAT_DTYPES, TensorRef, dtype_name
from dinoport.work.claims import claims

CLASSIFIERS = ("linear.weight", "linear_head.weight", "head.weight", "fc.weight")
"""Under which names an original keeps its classifier."""


@dataclass
class Prepared:
    """A conversion that is planned and can be written: the open source, what it holds, what it becomes.

    Use it as a context manager: it keeps the source's files open.
    """

    request: Request
    checkpoint: Checkpoint
    family: Family
    state: StateDict
    tensors: Mapping[str, TensorRef]
    reading: Reading
    target: Target
    plan: Plan
    cast: np.dtype[Any] | None
    located: Located
    others: tuple[StateDict, ...] = ()
    remarks: tuple[str, ...] = ()
    head: Checkpoint | None = None
    claimed: frozenset[str] = frozenset()
    files: ExitStack = field(default_factory=ExitStack)

    def assumed(self, *, resampled: bool) -> tuple[Setting[object], ...]:
        """The values that the verdict rests on and that no proof can see, whoever says them.

        `resampled` says that a proof resampled the position table, beside what was baked into the folder.
        """
        own = self.reading.preprocessing or self.family.preprocessing
        settings = self.reading.assumed(resampled=resampled or self.target.baked_from is not None)
        return (*settings, *claims(self.request, self.claimed, own))

    @property
    def sources(self) -> tuple[ByteSource, ...]:
        """Every file that is read: the checkpoint's, and the head's where it is a file of its own."""
        return (*self.checkpoint.sources, *(self.head.sources if self.head else ()))

    def check_unchanged(self) -> None:
        """Raise CheckpointError if a file is not what it was when it was opened."""
        for source in self.sources:
            source.check_unchanged()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.close()


def prepare(
    source: str | Path,
    request: Request,
    on_progress: Progress = silent,
    *,
    look: bool = False,
    claimed: frozenset[str] = frozenset(),
) -> Prepared:
    """Find, open and plan the conversion of an original checkpoint to Transformers.

    `claimed` are the fields of the request that only a folder's report gives. Raises DinoportError with everything
    that stands in the way, before anything is written.
    """
    with ExitStack() as files:
        located = locate(source, on_progress, look=look, head=request.head)
        checkpoint = files.enter_context(located.open(on_progress))
        prepared = prepare_opened(located, checkpoint, request, on_progress, claimed)
        prepared.files.push(files.pop_all())
        return prepared


def prepare_opened(
    located: Located,
    checkpoint: Checkpoint,
    request: Request,
    on_progress: Progress = silent,
    claimed: frozenset[str] = frozenset(),
) -> Prepared:
    """Plan the conversion of a checkpoint that is open, and that the caller closes. Raises as `prepare` does."""
    if is_known_class(checkpoint.config or {}):
        raise _converted_already(checkpoint.where)
    found = families.find(checkpoint.where, state_dicts(checkpoint), request.checkpoint_key)
    wishes = Wishes(request.num_heads, request.layer_norm_eps, request.interpolation, claimed=claimed)
    original = _original(found, wishes)
    with ExitStack() as files:
        head = None
        if request.head is not None:
            located_head = locate_head(request.head, located, on_progress)
            head = files.enter_context(located_head.open(on_progress))
            original = _with_head(original, head, found.family.classifier, located_head)
        if original.problems:
            raise refusal(checkpoint.where, found.family, found.state, original.problems)
        reading = _read(checkpoint, found, original, wishes)
        target, plan, cast = _planned(checkpoint.where, found, original.tensors, reading, request)
        return Prepared(
            request=request,
            checkpoint=checkpoint,
            family=found.family,
            state=found.state,
            tensors=original.tensors,
            reading=reading,
            target=target,
            plan=plan,
            cast=cast,
            located=located,
            others=found.others,
            remarks=(
                *located.remarks,
                *checkpoint.remarks,
                *original.remarks,
                *reading.remarks,
                *_branch_remarks(found, request.checkpoint_key),
                *_dtype_remarks(plan),
                *_run_remarks(checkpoint),
                *_channel_remarks(target),
            ),
            head=head,
            claimed=claimed,
            files=files.pop_all(),
        )


def _original(found: families.Found, wishes: Wishes) -> Translation:
    """A state dict under the original's names, whichever codebase named it."""
    tensors = found.state.tensors
    return translate(tensors, found.dialect, wishes) if found.dialect else Translation(dict(tensors))


def _with_head(original: Translation, head: Checkpoint, classifier: str, located: Located) -> Translation:
    """The same with a linear head, which was `located`, as the family's `classifier`."""
    remarks = located.remarks or (f"classifier from {file_name(located.shown)}",)
    layer, tensors = _head(head, classifier)
    tensors = {**original.tensors, **tensors}
    return replace(original, tensors=tensors, remarks=(*original.remarks, *remarks), head=layer)


def _read(checkpoint: Checkpoint, found: families.Found, original: Translation, wishes: Wishes) -> Reading:
    """The architecture, as the family reads it off names, shapes, and what the file or its run says."""
    return found.family.read(
        Evidence(
            where=checkpoint.where,
            tensors=original.tensors,
            arguments=training_arguments(checkpoint),
            wishes=wishes,
            config=checkpoint.run,
            declared=frozenset(original.declared),
            head=original.head,
        )
    )


def _planned(
    where: str, found: families.Found, tensors: Mapping[str, TensorRef], reading: Reading, request: Request
) -> tuple[Target, Plan, np.dtype[Any] | None]:
    """What it becomes, and by which steps, with the dtype that weights are rounded to.

    Raises PlanError with every problem.
    """
    preprocessing = reading.preprocessing or found.family.preprocessing
    target = choose(reading.architecture, preprocessing, _choices(request, tensors))
    cast = FLOAT_DTYPES[request.dtype] if request.dtype else None
    resolution = forwards(tensors, target.rules, cast)
    problems = (*reading.problems, *resolution.problems, *_unreadable(tensors, resolution.plan))
    if problems:
        raise refusal(where, found.family, found.state, problems)
    return target, resolution.plan, cast


def _converted_already(where: str) -> SettingError:
    return SettingError(
        f"{where} is a folder of Transformers already",
        expected="a checkpoint of an original codebase",
        found="config.json and weights under the names of Transformers",
        next_step=f"dinoport convert {where} FOLDER --to original, for the original's names",
    )


def _head(checkpoint: Checkpoint, name: str) -> tuple[str, dict[str, TensorRef]]:
    """The linear layer that is all that a file holds: what it calls it, and its tensors as the classifier `name`."""
    states = state_dicts(checkpoint)
    for state in states:
        layers = {full_name.rpartition(".")[0] for full_name in state.tensors}
        leaves = {full_name.rpartition(".")[2]: tensor for full_name, tensor in state.tensors.items()}
        if len(layers) == 1 and leaves.keys() == {"weight", "bias"}:
            tensors = {f"{name}.{leaf}": tensor.renamed(f"{name}.{leaf}") for leaf, tensor in leaves.items()}
            return layers.pop(), tensors
    names = [full_name for state in states for full_name in state.tensors]
    raise SettingError(
        f"{checkpoint.where} is not a linear head",
        expected="weight and bias of one linear layer, as eval_linear.py of DINO or DINOv2's hub save them",
        found=", ".join(fold_names(names)[:6]),
        next_step="give the file of one linear classifier, or leave --head out",
    )


def _choices(request: Request, tensors: Mapping[str, TensorRef]) -> Choices:
    classifier = next((tensors[name] for name in CLASSIFIERS if name in tensors), None)
    labels = None
    if request.labels is not None:
        if classifier is None:
            raise SettingError(
                "--labels needs a classifier, and this checkpoint has none",
                expected="a plain classifier in the checkpoint, or --head FILE",
                found="a backbone",
                next_step="leave --labels out, or add --head FILE",
            )
        labels = read_labels(request.labels, classifier.shape[0])
    return Choices(
        image_size=request.image_size,
        pooler="none" if request.pooler == "none" else "identity",
        labels=labels,
        image_mean=request.image_mean,
        image_std=request.image_std,
    )


def _unreadable(tensors: Mapping[str, TensorRef], plan: Plan) -> list[Problem]:
    """Tensors that the plan wants and that hold no weights."""
    problems = []
    for step in plan.steps:
        for span in step.spans:
            name = span.tensor.name
            if name in tensors and not (span.tensor.is_float or name.endswith(".num_batches_tracked")):
                what = f"holds {dtype_name(span.tensor.dtype)} where weights of a floating dtype were expected"
                problems.append(Problem(name, what))
    return list(dict.fromkeys(problems))


def _branch_remarks(found: families.Found, key: str | None) -> list[str]:
    names = [state.label for state in found.others]
    if not names:
        return []
    chosen = "as asked" if key else found.state.why or "the first that a family recognises"
    return [f"{found.state.label} was chosen, {chosen}; also in the file: {', '.join(names)} (--checkpoint-key)"]


def _run_remarks(checkpoint: Checkpoint) -> list[str]:
    run = checkpoint.run
    return [f"{run.where} was not read: {run.problem}"] if run and run.problem else []


def _channel_remarks(target: Target) -> list[str]:
    if target.channels == 3:
        return []
    count = f"{target.channels} channel{'' if target.channels == 1 else 's'}"
    return [f"the model takes {count}, and gets no image processor: none of Transformers' is known to fit its training"]


def _dtype_remarks(plan: Plan) -> list[str]:
    names = sorted({dtype_name(step.target.dtype) for step in plan.steps if step.target.dtype in FLOAT_DTYPES.values()})
    if len(names) < 2:
        return []
    return [f"weights of mixed dtypes are kept as they are ({', '.join(names)}); Transformers loads all of them as one"]
