"""What takes each place of a file that holds a model: the whole command, with what only its user knows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from dinoport.errors import DinoportError, SettingError
from dinoport.finding.listing import Part
from dinoport.finding.sources import Located
from dinoport.formats.checkpoint import Checkpoint
from dinoport.request import Request, option_of, options_of
from dinoport.shown.packages import runnable
from dinoport.work.prepare import prepare_opened

UNKNOWN = {
    "num_heads": ("N", 1, "the number of attention heads, from the code or config that trained the model"),
    "lora_alpha": ("ALPHA", 1.0, "lora_alpha of the adapters, from adapter_config.json or the code"),
    "decoder_heads": ("M", 1, "decoder_num_heads, from the code that trained the model"),
}
"""What no file may say: a letter for it, a value with which the rest can be planned, and where it is found."""

MAX_PLANNED = 32
"""Places that are planned. A file with more holds no models that are taken one by one."""


def with_commands(
    parts: Sequence[Part], located: Located, checkpoint: Checkpoint, request: Request, planned: str | None = None
) -> tuple[Part, ...]:
    """Each part that holds a model, with the command that takes it or why there is none.

    `planned` is the place that a plan was made for already, which nothing stands in the way of.
    """
    models = [part for part in parts if part.model]
    if len(models) > MAX_PLANNED:
        return tuple(parts)
    return tuple(
        _with_command(part, located, checkpoint, request, is_planned=part.prefix.rstrip(".") == planned)
        if part.model
        else part
        for part in parts
    )


def _with_command(part: Part, located: Located, checkpoint: Checkpoint, request: Request, *, is_planned: bool) -> Part:
    asked = replace(request, checkpoint_key=None, prefix=part.prefix or None)
    missing: list[str] = []
    try:
        while not is_planned and (field := _missing(located, checkpoint, asked)):
            missing.append(field)
            asked = asked.updated(Request.from_dict({field: UNKNOWN[field][1]}))
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
    return replace(part, command=runnable(shlex.join(words)), needs=needs)


def _missing(located: Located, checkpoint: Checkpoint, asked: Request) -> str | None:
    """The field of a request without which there is no plan. Raises DinoportError for whatever else is in the way."""
    try:
        prepare_opened(located, checkpoint, asked, again=True).files.close()
    except SettingError as error:
        if error.missing not in UNKNOWN or error.missing in asked.to_dict():
            raise
        return error.missing
    return None
