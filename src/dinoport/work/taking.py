"""What takes each place of a file that holds a model: the whole command, with what only its user knows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dinoport.errors import DinoportError, SettingError
from dinoport.finding.listing import Part
from dinoport.finding.sources import Located
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import Family
from dinoport.request import Request, option_of, options_of
from dinoport.shown.packages import runnable
from dinoport.work.prepare import prepare_opened

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


def with_commands(
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
        while isinstance(found := family or _planned(located, checkpoint, asked), str):
            missing.append(found)
            asked = asked.updated(Request.from_dict({found: UNKNOWN[found][1]}))
    except DinoportError as error:
        first = [problem.split("\n")[0] for problem in getattr(error, "problems", ())[:1]]
        return replace(part, refusal=f"cannot be taken: {', '.join([error.what, *first])}")
    words = ["dinoport", "convert", located.shown, "FOLDER"]
    given = {name: value for name, value in asked.to_dict().items() if name not in missing}
    for option, value in options_of(given).items():
        words += [option, value] if value != "True" else [option]
    for field in missing:
        words += [option_of(field), UNKNOWN[field][0]]
    needs = tuple(f"{UNKNOWN[field][0]}: {UNKNOWN[field][2]}" for field in missing)
    return replace(part, what=str(found), command=runnable(shlex.join(words)), needs=needs)


def _planned(located: Located, checkpoint: Checkpoint, asked: Request) -> Family | str:
    """Whose model would be taken, or the field of a request without which there is no plan.

    Raises DinoportError for whatever else is in the way.
    """
    try:
        with prepare_opened(located, checkpoint, asked, again=True) as conversion:
            return conversion.model.family
    except SettingError as error:
        if error.missing not in UNKNOWN or error.missing in asked.to_dict():
            raise
        return error.missing
