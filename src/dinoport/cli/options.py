"""The options that commands share, and how their values are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dinoport.errors import UsageError
from dinoport.request import DTYPES, INTERPOLATIONS, POOLERS, Request, what_fits


def print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"dinoport {version('dinoport')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A checkpoint file, a distributed checkpoint's or a run's folder, a folder of Transformers, "
        "a published name, or an address (https://, hf://, s3:// …).",
    ),
]
Target = Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace FOLDER if it is empty or holds only a model.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Key = Annotated[str | None, typer.Option(help="Which copy of the model: teacher, student …  [default: teacher]")]
Head = Annotated[
    str | None, typer.Option(help="A linear head to convert along: its file, or imagenet for the published one.")
]
Labels = Annotated[str | None, typer.Option(help="Class names: imagenet-1k, or a JSON file.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.  [default: as stored]")]
ImageSize = Annotated[int | None, typer.Option(help="Make the folder for this input size, in pixels.")]
MadeForSize = Annotated[
    int | None, typer.Option("--image-size", help="The input size that the folder was made for, in pixels.")
]
Heads = Annotated[int | None, typer.Option(help="Attention heads, where the file does not say.")]
Eps = Annotated[float | None, typer.Option(help="LayerNorm epsilon, where it is not the original's default.")]
Interpolation = Annotated[str | None, typer.Option(help="The original's table rule: offset, size, size-antialias.")]
Mean = Annotated[str | None, typer.Option(help="Pixel means, as R,G,B from 0 to 1.")]
Std = Annotated[str | None, typer.Option(help="Pixel standard deviations, as R,G,B.")]
Pooler = Annotated[str, typer.Option(help="identity: pooler_output is the CLS token; none: no pooler.")]
Verify = Annotated[str, typer.Option("--verify", help="full, exact (needs no torch) or none.")]
Image = Annotated[Path | None, typer.Option(help="A picture to compare outputs and pixels on.")]
AllSizes = Annotated[bool, typer.Option("--all-sizes", help="Compare outputs at two more input sizes.")]
Reference = Annotated[
    str | None,
    typer.Option(help="Also compare with the original's own code: hub, or a checkout's folder. Runs code from there."),
]
ShardSize = Annotated[str, typer.Option(help="Largest weight file: 5GB, 500MB …")]
ReportPath = Annotated[
    Path | None, typer.Option("--report", help="Write the report here, proven or not: .html is a page, else JSON.")
]


ALIASES = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}
"""Names of dtypes elsewhere, which are not taken: a refusal names what is meant."""


def one_of(option: str, value: str | None, allowed: tuple[str | None, ...]) -> Any:
    if value not in allowed:
        names = ", ".join(name for name in allowed if name)
        meant = ALIASES.get(value or "", allowed[0])
        raise UsageError(f"{option} takes one of {names}", found=repr(value), next_step=f"{option} {meant}")
    return value


def request_of(
    *,
    dtype: str | None = None,
    interpolation: str | None = None,
    image_mean: str | None = None,
    image_std: str | None = None,
    pooler: str = POOLERS[0],
    **others: Any,
) -> Request:
    """What the options of a command ask for. Raises UsageError for a value that an option does not take."""
    for name, value in others.items():
        expected = what_fits(name, value)
        if expected:
            raise UsageError(f"--{name.replace('_', '-')} takes {expected}", found=str(value) or "nothing")
    return Request(
        dtype=one_of("--dtype", dtype, (*DTYPES, None)),
        interpolation=one_of("--interpolation", interpolation, (*INTERPOLATIONS, None)),
        image_mean=statistics("--image-mean", image_mean),
        image_std=statistics("--image-std", image_std),
        pooler=one_of("--pooler", pooler, POOLERS),
        **others,
    )


def statistics(option: str, text: str | None) -> tuple[float, ...] | None:
    """Parse `0.485,0.456,0.406`."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or any(not 0 <= value <= 1 for value in values) or (option == "--image-std" and 0 in values):
        raise UsageError(
            f"{option} takes one number for each channel, from 0 to 1",
            expected="0.485,0.456,0.406",
            found=text,
            cause="numbers from 0 to 255: divide them by 255" if values and max(values) > 1 else None,
        )
    return values


def size_bytes(text: str) -> int:
    """Parse `5GB`, `500MB`, `1000000`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    size_bytes = int(float(found[1]) * 1000 ** " KMGT".index(found[2] or " ")) if found else 0
    if size_bytes <= 0:
        raise UsageError("--max-shard-size takes a size", expected="5GB, 500MB or a number of bytes", found=text)
    return size_bytes
