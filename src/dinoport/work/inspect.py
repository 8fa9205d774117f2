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
from dinoport.request import TARGETS, Request, option_of, words_of
from dinoport.shown.packages import PROOF
from dinoport.shown.packages import missing as not_installed
from dinoport.shown.text import as_path, as_word, shell_word
from dinoport.work.prepare import prepare
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
    with located.open(on_progress) as checkpoint:
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
    where = as_word(checkpoint.where)
    proving = [f"dinoport verify {where}", f"dinoport verify SOURCE {where}"] if checkpoint.report else []
    others = [f"dinoport convert {where} FOLDER --to {to}" for to in TARGETS if to != "transformers"]
    return (*proving, *(f"{command}{_exact()}" for command in others))


def _exact() -> str:
    return " --verify exact" if not_installed(*PROOF) else ""


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
    words = ["dinoport", "convert", as_path(located.shown), "FOLDER", *words_of(asked.to_dict())]
    for field in missing:
        words += [option_of(field), UNKNOWN[field][0]]
    needs = tuple(f"{UNKNOWN[field][0]}: {UNKNOWN[field][2]}" for field in missing)
    return replace(part, what=str(found), command=" ".join(map(shell_word, words)) + _exact(), needs=needs)


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
