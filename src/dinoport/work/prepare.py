"""Plan a conversion: open, find, decode, choose a form, encode. Nothing is written."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from dinoport.codebases.refusal import refusal
from dinoport.codebases.targets import writing_of
from dinoport.codebases.transformers.forms import is_known_class
from dinoport.errors import SettingError
from dinoport.finding.faults import not_whole, uneven
from dinoport.finding.heads import head_file
from dinoport.finding.models import Provenance, read_model
from dinoport.finding.sources import Located, locate, locate_head
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.claims import Problem
from dinoport.mapping.encoding import encode
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Plan
from dinoport.model import Model
from dinoport.progress import Progress, silent
from dinoport.request import Request
from dinoport.tensor import FLOAT_DTYPES, dtype_name
from dinoport.work.conversion import Conversion
from dinoport.work.refusals import refuse_done, refuse_partless, refuse_together, refuse_unused


def prepare(
    source: str | Path | Located,
    request: Request,
    on_progress: Progress = silent,
    *,
    opened: Checkpoint | None = None,
    look: bool = False,
    claimed: frozenset[str] = frozenset(),
    again: bool = False,
    weigh_heads: bool = False,
    recorded: str | None = None,
) -> Conversion:
    """Find, open and plan a conversion. Raises DinoportError with everything that stands in the way.

    A checkpoint that is `opened` already stays open: whoever opened it closes it. To `look` at a source, it need not be
    downloaded. `again` plans what was done already, to prove it. `weigh_heads` holds the number of heads against the
    weights; `recorded` is the family that a folder which is verified records.
    """
    refuse_together(request)
    with ExitStack() as files:
        located = source
        if not isinstance(located, Located):
            located = locate(located, on_progress, look=look, head=request.head)
        checkpoint = opened or replace(files.enter_context(located.open(on_progress)), on_progress=on_progress)
        refuse_unused(checkpoint, request, claimed)
        head, of_head = None, None
        if request.head is not None:
            located_head = locate_head(request.head, located, on_progress)
            of_head = files.enter_context(located_head.open(on_progress))
            head = head_file(of_head, request.head_name, " ".join(located_head.remarks) or None)
        published = located.published.family if located.published and located.fetched else None
        base = None
        if checkpoint.adapter is not None:
            from dinoport.finding.adapted_model import open_base, read_adapted

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
        refuse_partless(model, provenance, request, claimed)
        _refuse_folder(checkpoint if base is None else base, located.path if base is None else Path(base.where))
        if base is None and is_known_class(checkpoint.config or {}):
            from dinoport.codebases.transformers.reading import refuse_unlike

            refuse_unlike(checkpoint.where, checkpoint.config or {}, model)
        if not again:
            refuse_done(checkpoint, model, provenance, request)
        planned = _planned(checkpoint, provenance, model, request)
        return Conversion(
            **planned,
            request=request,
            located=located,
            checkpoint=checkpoint,
            provenance=provenance,
            head=of_head,
            claimed=claimed,
            files=files.pop_all(),
        )


def planned_for(conversion: Conversion, model: Model, request: Request) -> Conversion:
    """The same conversion, of a model that computes what its own does. Raises as `prepare` does."""
    return replace(conversion, **_planned(conversion.checkpoint, conversion.provenance, model, request))


def _planned(checkpoint: Checkpoint, provenance: Provenance, model: Model, request: Request) -> dict[str, Any]:
    """What follows from a model and what is asked for: how it is written, as what, and by which steps."""
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
    return {"writing": writing, "model": model, "target": target, "plan": encoding.plan}


def _refuse_folder(checkpoint: Checkpoint, path: Path | None) -> None:
    """Raise SettingError for a folder of Transformers whose configs open something, or that has more beside it."""
    if not is_known_class(checkpoint.config or {}):
        return
    from dinoport.proofs.known_folder import refuse_beside, refuse_foreign, refuse_read_beside

    refuse_foreign(checkpoint.where, checkpoint.config or {}, checkpoint.tensors)
    refuse_read_beside(checkpoint.where, checkpoint.beside)
    if path is not None and path.is_dir():
        refuse_beside(path)


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
