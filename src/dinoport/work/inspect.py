"""`inspect`: what a source is, what it would become, and the command that takes each model in it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dinoport.codebases.transformers.forms import is_known_class
from dinoport.errors import DinoportError, SettingError, UsageError
from dinoport.finding.listing import Part, parts_of
from dinoport.finding.models import unwrapped
from dinoport.finding.sources import Located, locate
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import Family
from dinoport.progress import Progress
from dinoport.report.inspection import Inspection, branch_of
from dinoport.request import Request
from dinoport.shown.calls import FOLDER, SOURCE, Blank, call, runnable
from dinoport.work.prepare import prepare
from dinoport.work.refusals import other_targets
from dinoport.work.reporting import planned_report

UNKNOWN = {
    "num_heads": ("N", 1, "the number of attention heads, from the code or config that trained the model"),
    "lora_alpha": ("ALPHA", 1.0, "lora_alpha of the adapters, from adapter_config.json or the code"),
    "decoder_heads": ("M", 1, "decoder_num_heads, from the code that trained the model"),
}
"""What no file may say: a letter for it, a value with which the rest can be planned, and where it is found."""

BARE = "."
"""What asks for bare names beside other models."""

MAX_PLANNED = 32
"""Places that are planned. A file with more holds no models that are taken one by one."""


def inspect_place(source: str | Path, request: Request, on_progress: Progress, *, heads: bool) -> Inspection:
    """What lies in a source, its plan, or why there is none; `heads` reads them from the weights."""
    planned, refusal = None, None
    located = locate(source, on_progress, look=True, head=request.head)
    with located.open(on_progress) as opened:
        checkpoint = replace(opened, looked_at=True)
        states = unwrapped(checkpoint)
        parts, own, chosen = parts_of(checkpoint), request, {}
        if is_known_class(checkpoint.config or {}):  # which is the default target already
            request = replace(request, to="original")
        try:
            planning = prepare(located, request, on_progress, opened=checkpoint, again=True, weigh_heads=heads)
            with planning as conversion:
                planned = planned_report(conversion)
                if request is own:
                    chosen[conversion.provenance.prefix] = conversion.model.family
        except UsageError:
            raise
        except DinoportError as error:
            if error.next_step == call("inspect", checkpoint.where):  # which is what is done here
                error.next_step = None
            refusal = str(error)
        return Inspection(
            where=checkpoint.where,
            format=checkpoint.format,
            size_bytes=checkpoint.size_bytes,
            parts=_with_commands(parts, located, checkpoint, own, chosen),
            branches=tuple(branch_of(label, tensors, notes) for label, tensors, notes in states),
            plan=planned,
            refusal=refusal,
            commands=_next(checkpoint) if is_known_class(checkpoint.config or {}) else (),
        )


def _next(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What can be done with a folder of Transformers: prove it, if we wrote it, and make something else of it."""
    where = checkpoint.where
    proving = (call("verify", where), runnable("verify", SOURCE, where)) if checkpoint.report else ()
    return (*proving, *other_targets(where))


def _with_commands(
    parts: Sequence[Part], located: Located, checkpoint: Checkpoint, request: Request, planned: Mapping[str, Family]
) -> tuple[Part, ...]:
    """Each part that holds a model, with whose it is, and the command that takes it or why there is none.

    `planned` are the places that a plan was made for already, which nothing stands in the way of.
    """
    models = [part for part in parts if part.model]
    if len(models) > MAX_PLANNED:
        return tuple(parts)
    return tuple(
        _with_command(part, located, checkpoint, request, planned.get(part.prefix.rstrip(".")), alone=len(models) == 1)
        if part.model
        else part
        for part in parts
    )


def _with_command(
    part: Part, located: Located, checkpoint: Checkpoint, request: Request, family: Family | None, *, alone: bool
) -> Part:
    asked = replace(request, checkpoint_key=None, prefix=part.prefix or (None if alone else BARE))
    missing: list[str] = []
    try:
        found = family or _family(located, checkpoint, asked, missing)
    except DinoportError as error:
        first = [problem.split("\n")[0] for problem in getattr(error, "problems", ())[:1]]
        return replace(part, refusal=f"cannot be taken: {', '.join([error.what, *first])}")
    blanks = {field: Blank(UNKNOWN[field][0]) for field in missing}
    needs = tuple(f"{blanks[field]}: {UNKNOWN[field][2]}" for field in missing)
    command = runnable("convert", located.shown, FOLDER, **{**asked.to_dict(), **blanks})
    return replace(part, what=str(found), command=command, needs=needs)


def _family(located: Located, checkpoint: Checkpoint, asked: Request, missing: list[str]) -> Family:
    """Whose model would be taken; each field without which there is no plan is added to the `missing` ones.

    Raises DinoportError for whatever else is in the way.
    """
    stand_ins = Request.from_dict({field: UNKNOWN[field][1] for field in missing}) if missing else None
    try:
        with prepare(located, asked.updated(stand_ins), opened=checkpoint, again=True) as conversion:
            return conversion.model.family
    except SettingError as error:
        if error.missing not in UNKNOWN or error.missing in {*missing, *asked.to_dict()}:
            raise
        missing.append(error.missing)
    return _family(located, checkpoint, asked, missing)
