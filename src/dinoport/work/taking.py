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
        found = family or _family(located, checkpoint, asked, missing)
    except DinoportError as error:
        first = [problem.split("\n")[0] for problem in getattr(error, "problems", ())[:1]]
        return replace(part, refusal=f"cannot be taken: {', '.join([error.what, *first])}")
    words = ["dinoport", "convert", located.shown, "FOLDER"]
    for option, value in options_of(asked.to_dict()).items():
        words += [option, value] if value != "True" else [option]
    for field in missing:
        words += [option_of(field), UNKNOWN[field][0]]
    needs = tuple(f"{UNKNOWN[field][0]}: {UNKNOWN[field][2]}" for field in missing)
    return replace(part, what=str(found), command=runnable(shlex.join(words)), needs=needs)


def _family(located: Located, checkpoint: Checkpoint, asked: Request, missing: list[str]) -> Family:
    """Whose model would be taken; each field without which there is no plan is added to the `missing` ones.

    Raises DinoportError for whatever else is in the way.
    """
    stand_ins = Request.from_dict({field: UNKNOWN[field][1] for field in missing}) if missing else None
    try:
        with prepare_opened(located, checkpoint, asked.updated(stand_ins), again=True) as conversion:
            return conversion.model.family
    except SettingError as error:
        if error.missing not in UNKNOWN or error.missing in {*missing, *asked.to_dict()}:
            raise
        missing.append(error.missing)
    return _family(located, checkpoint, asked, missing)
