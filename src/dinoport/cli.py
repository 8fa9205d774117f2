"""The command line: each command is one call of the API plus printing. Data on stdout, progress on stderr."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dinoport.errors import DinoportError, NotProvenError, UsageError

if TYPE_CHECKING:
    from dinoport.preparation import Request
    from dinoport.report.report import Report

app = typer.Typer(
    name="dinoport",
    help="Convert any checkpoint of the DINO family into a Hugging Face Transformers folder, proven equal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130

Source = Annotated[str, typer.Argument(help="A checkpoint file, or a folder of Transformers.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Key = Annotated[str | None, typer.Option(help="Which copy of the model: teacher, student …  [default: teacher]")]
Head = Annotated[Path | None, typer.Option(help="A linear head of eval_linear.py to convert along.")]
Labels = Annotated[str | None, typer.Option(help="Class names: imagenet-1k, or a JSON file.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.  [default: as stored]")]
ImageSize = Annotated[int | None, typer.Option(help="Make the folder for this input size, in pixels.")]
Heads = Annotated[int | None, typer.Option(help="Attention heads, where the file does not say.")]
Eps = Annotated[float | None, typer.Option(help="LayerNorm epsilon, where it is not the original's default.")]
Interpolation = Annotated[str | None, typer.Option(help="The original's table rule: offset, size, size-antialias.")]
Mean = Annotated[str | None, typer.Option(help="Pixel means, as R,G,B from 0 to 1.")]
Std = Annotated[str | None, typer.Option(help="Pixel standard deviations, as R,G,B.")]
Pooler = Annotated[str, typer.Option(help="identity: pooler_output is the CLS token; none: no pooler.")]
Verify = Annotated[str, typer.Option("--verify", help="full, exact (needs no torch) or none.")]
Image = Annotated[Path | None, typer.Option(help="A picture to compare outputs and pixels on.")]
AllSizes = Annotated[bool, typer.Option("--all-sizes", help="Compare outputs at two more input sizes.")]
ReportPath = Annotated[Path | None, typer.Option("--report", help="Write the report as JSON here, proven or not.")]


@app.command()
def convert(
    source: Source,
    folder: Annotated[Path, typer.Argument(help="The folder to write.", show_default=False)],
    to: Annotated[str, typer.Option(help="transformers, or original: back to the original's names.")] = "transformers",
    checkpoint_key: Key = None,
    head: Head = None,
    labels: Labels = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    num_heads: Heads = None,
    layer_norm_eps: Eps = None,
    interpolation: Interpolation = None,
    image_mean: Mean = None,
    image_std: Std = None,
    pooler: Pooler = "identity",
    verify: Verify = "full",
    image: Image = None,
    all_sizes: AllSizes = False,
    report: ReportPath = None,
    max_shard_size: Annotated[str, typer.Option(help="Largest weight file: 5GB, 500MB …")] = "5GB",
    allow_nonfinite: Annotated[bool, typer.Option("--allow-nonfinite", help="Copy NaN and infinity.")] = False,
    keep_unproven: Annotated[
        bool, typer.Option("--keep-unproven", help="Keep a folder that failed its proof as FOLDER.unproven.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FOLDER if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Convert SOURCE into FOLDER, and prove that they are equal."""
    from dinoport import api
    from dinoport.console import progress_bars

    request = _request(
        checkpoint_key=checkpoint_key,
        head=head,
        labels=labels,
        dtype=_one_of("--dtype", dtype, ("float32", "float16", "bfloat16", None)),
        image_size=image_size,
        num_heads=num_heads,
        layer_norm_eps=layer_norm_eps,
        interpolation=_one_of("--interpolation", interpolation, ("offset", "size", "size-antialias", None)),
        image_mean=_statistics("--image-mean", image_mean),
        image_std=_statistics("--image-std", image_std),
        pooler=_one_of("--pooler", pooler, ("identity", "none")),
    )
    _one_of("--to", to, ("transformers", "original"))
    _one_of("--verify", verify, ("none", "exact", "full"))
    if dry_run:
        planned = api.plan(source, request, to=to)
        _show(planned, as_json, with_plan=True)
        return
    try:
        with progress_bars() as on_progress:
            done = api.convert(
                source,
                folder,
                request,
                to=to,  # type: ignore[arg-type]  # checked above
                level=verify,  # type: ignore[arg-type]
                image=image,
                all_sizes=all_sizes,
                force=force,
                keep_unproven=keep_unproven,
                allow_nonfinite=allow_nonfinite,
                max_shard_bytes=_size_bytes(max_shard_size),
                on_progress=on_progress,
            )
    except NotProvenError as error:
        _write_report(error.report, report)
        raise
    _write_report(done, report)
    _show(done, as_json)


@app.command()
def inspect(
    source: Source,
    checkpoint_key: Key = None,
    head: Head = None,
    num_heads: Heads = None,
    layer_norm_eps: Eps = None,
    as_json: Json = False,
) -> None:
    """Say what SOURCE is, what is in it, what it would become, and what would be lost."""
    from dinoport import api
    from dinoport.report.text import inspection_lines

    request = _request(checkpoint_key=checkpoint_key, head=head, num_heads=num_heads, layer_norm_eps=layer_norm_eps)
    found = api.inspect(source, request)
    if as_json:
        _print_json(found.to_dict())
    else:
        print("\n".join(inspection_lines(found)))


@app.command()
def verify(
    source: Source,
    folder: Annotated[Path, typer.Argument(help="A folder that was converted from SOURCE.", show_default=False)],
    level: Annotated[str, typer.Option("--verify", help="full, or exact (needs no torch).")] = "full",
    image: Image = None,
    all_sizes: AllSizes = False,
    report: ReportPath = None,
    as_json: Json = False,
) -> None:
    """Prove that FOLDER is equal to SOURCE."""
    from dinoport import api
    from dinoport.console import progress_bars

    _one_of("--verify", level, ("exact", "full"))
    with progress_bars() as on_progress:
        done = api.verify(
            source,
            folder,
            level=level,  # type: ignore[arg-type]  # checked above
            image=image,
            all_sizes=all_sizes,
            on_progress=on_progress,
        )
    _write_report(done, report)
    _show(done, as_json)
    if done.verdict.failed:
        raise typer.Exit(NotProvenError.exit_code)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to write.")] = Path("dinoport-demo"),
    force: Annotated[bool, typer.Option("--force", help="Replace FOLDER if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Convert a small genuine training checkpoint that ships with the package, and show the report."""
    from dinoport import api
    from dinoport.console import progress_bars

    with progress_bars() as on_progress:
        done = api.demo(folder, force=force, on_progress=on_progress)
    _show(done, as_json)


class Interrupted(BaseException):
    """Ctrl-C or a request to stop, raised wherever the work is, so that it is cleaned up on the way out."""


def main() -> NoReturn:
    """Run the command line and exit with its code: 0, 1, 2, 3 or 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except Interrupted:
        print("interrupted: nothing was published", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except DinoportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted


def _request(**wishes: Any) -> Request:
    from dinoport.preparation import Request

    return Request(**wishes)


def _one_of(option: str, value: str | None, allowed: tuple[str | None, ...]) -> Any:
    if value not in allowed:
        names = ", ".join(name for name in allowed if name)
        raise UsageError(f"{option} takes one of {names}", found=repr(value), next_step=f"{option} {allowed[0]}")
    return value


def _statistics(option: str, text: str | None) -> tuple[float, ...] | None:
    """Parse `0.485,0.456,0.406`."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or any(not 0 <= value < 256 for value in values) or (option == "--image-std" and 0 in values):
        raise UsageError(f"{option} takes one number for each channel", expected="0.485,0.456,0.406", found=text)
    return values


def _size_bytes(text: str) -> int:
    """Parse `5GB`, `500MB`, `1000000`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    size_bytes = int(float(found[1]) * 1000 ** " KMGT".index(found[2] or " ")) if found else 0
    if size_bytes <= 0:
        raise UsageError("--max-shard-size takes a size", expected="5GB, 500MB or a number of bytes", found=text)
    return size_bytes


def _show(report: Report, as_json: bool, *, with_plan: bool = False) -> None:
    from dinoport.report.text import plan_lines, report_lines

    if as_json:
        _print_json(report.to_dict())
        return
    from dinoport.console import print_report

    print_report(report_lines(report))
    if with_plan:
        print("\n".join(["", "plan", *plan_lines(report)]))


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def _write_report(report: Report | None, path: Path | None) -> None:
    if report is not None and path is not None:
        from dinoport.writing.json_file import write_json

        write_json(path, report.to_dict())
