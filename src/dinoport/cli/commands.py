"""The command line: each command is one call of the API plus printing. Data on stdout, progress on stderr."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from dinoport.cli.options import (
    AllSizes,
    Dtype,
    Eps,
    Force,
    Head,
    Heads,
    Image,
    ImageSize,
    Interpolation,
    Json,
    Key,
    Labels,
    MadeForSize,
    Mean,
    Pooler,
    Reference,
    ReportPath,
    ShardSize,
    Source,
    Std,
    Target,
    Verify,
    Version,
    one_of,
    request_of,
    size_bytes,
)
from dinoport.cli.output import announce_code, check_report, is_page, keep_and_show, print_json, show
from dinoport.cli.session import interruptible, run
from dinoport.errors import NotProvenError, UsageError
from dinoport.files.address import local_folder, refuse_empty
from dinoport.request import DEFAULT_MASS, DEFAULT_SHARD_BYTES, DEFAULT_SIZE

app = typer.Typer(
    name="dinoport",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def program(version: Version = False) -> None:
    """Convert any checkpoint of the DINO family into a Hugging Face Transformers folder, proven equal."""


@app.command()
def convert(
    source: Source,
    folder: Target,
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
    reference: Reference = None,
    report: ReportPath = None,
    max_shard_size: ShardSize = f"{DEFAULT_SHARD_BYTES // 10**9}GB",
    allow_nonfinite: Annotated[bool, typer.Option("--allow-nonfinite", help="Copy NaN and infinity.")] = False,
    keep_unproven: Annotated[
        bool, typer.Option("--keep-unproven", help="Keep a folder that failed its proof as FOLDER.unproven.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert SOURCE into FOLDER, and prove that they are equal."""
    from dinoport import api
    from dinoport.cli.console import progress_bars

    refuse_empty("SOURCE", source)
    target = local_folder(folder)
    request = request_of(
        checkpoint_key=checkpoint_key,
        head=head,
        labels=labels,
        dtype=dtype,
        image_size=image_size,
        num_heads=num_heads,
        layer_norm_eps=layer_norm_eps,
        interpolation=interpolation,
        image_mean=image_mean,
        image_std=image_std,
        pooler=pooler,
    )
    one_of("--to", to, ("transformers", "original"))
    one_of("--verify", verify, ("full", "exact", "none"))
    max_shard_bytes = size_bytes(max_shard_size)
    if dry_run:
        with progress_bars() as on_progress:
            planned = api.plan(source, request, to=to, on_progress=on_progress)
        show(planned, as_json, with_plan=True)
        return
    check_report(report, source, target)
    announce_code(reference, verify, to)
    try:
        with interruptible(target):
            with progress_bars() as on_progress:
                done = api.convert(
                    source,
                    target,
                    request,
                    to=to,
                    level=verify,
                    image=image,
                    all_sizes=all_sizes,
                    reference=reference,
                    force=force,
                    keep_unproven=keep_unproven,
                    allow_nonfinite=allow_nonfinite,
                    max_shard_bytes=max_shard_bytes,
                    pictures=is_page(report),
                    on_progress=on_progress,
                )
            keep_and_show(done, as_json, report, target)
    except NotProvenError as error:
        keep_and_show(error.report, as_json, report)
        raise


@app.command()
def inspect(
    source: Source,
    checkpoint_key: Key = None,
    head: Head = None,
    num_heads: Heads = None,
    layer_norm_eps: Eps = None,
    interpolation: Interpolation = None,
    as_json: Json = False,
) -> None:
    """Say what SOURCE is, what is in it, and what it would become."""
    from dinoport import api
    from dinoport.cli.console import progress_bars
    from dinoport.report.text import inspection_lines

    request = request_of(
        checkpoint_key=checkpoint_key,
        head=head,
        num_heads=num_heads,
        layer_norm_eps=layer_norm_eps,
        interpolation=interpolation,
    )
    with progress_bars() as on_progress:
        found = api.inspect(source, request, on_progress=on_progress)
    if as_json:
        print_json(found.to_dict())
    else:
        print("\n".join(inspection_lines(found)))


@app.command()
def verify(
    source: Source,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder that was converted from SOURCE.")],
    checkpoint_key: Key = None,
    head: Head = None,
    labels: Labels = None,
    dtype: Dtype = None,
    image_size: MadeForSize = None,
    num_heads: Heads = None,
    layer_norm_eps: Eps = None,
    interpolation: Interpolation = None,
    image_mean: Mean = None,
    image_std: Std = None,
    pooler: Pooler = "identity",
    level: Annotated[str, typer.Option("--verify", help="full, or exact (needs no torch).")] = "full",
    image: Image = None,
    all_sizes: AllSizes = False,
    reference: Reference = None,
    report: ReportPath = None,
    as_json: Json = False,
) -> None:
    """Prove that FOLDER is equal to SOURCE.

    FOLDER may also be what --to original wrote; SOURCE is then the folder that it was made from.

    What was asked for when FOLDER was made is read from its dinoport.json, and what only that says is an assumption of
    the verdict: give what you know yourself. A head's and labels' files have to be given.
    """
    from dinoport import api
    from dinoport.cli.console import progress_bars

    refuse_empty("SOURCE", source)
    target = local_folder(folder)
    one_of("--verify", level, ("full", "exact"))
    request = request_of(
        checkpoint_key=checkpoint_key,
        head=head,
        labels=labels,
        dtype=dtype,
        image_size=image_size,
        num_heads=num_heads,
        layer_norm_eps=layer_norm_eps,
        interpolation=interpolation,
        image_mean=image_mean,
        image_std=image_std,
        pooler=pooler,
    )
    check_report(report, source, target)
    announce_code(reference, level)
    with progress_bars() as on_progress:
        done = api.verify(
            source,
            target,
            request,
            level=level,
            image=image,
            all_sizes=all_sizes,
            pictures=is_page(report),
            reference=reference,
            on_progress=on_progress,
        )
    keep_and_show(done, as_json, report)
    if done.verdict.failed:
        raise typer.Exit(NotProvenError.exit_code)


@app.command()
def models(as_json: Json = False) -> None:
    """List the published models that SOURCE can name."""
    from dinoport.report.models import models_lines, models_to_dict

    if as_json:
        print_json(models_to_dict())
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(models_lines(width)))


@app.command()
def visualize(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A converted folder.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture, such as JPEG or PNG.")],
    out: Annotated[str, typer.Option(help="Where the pictures go.")] = "visualization",
    size: Annotated[int, typer.Option(help="The shorter side, in pixels.")] = DEFAULT_SIZE,
    mass: Annotated[float, typer.Option(help="The share of attention that masks hold.")] = DEFAULT_MASS,
    as_json: Json = False,
) -> None:
    """Draw what FOLDER sees in IMAGE: attention, masks, components."""
    from dinoport import api
    from dinoport.pictures.drawing import visualization_lines

    if not 0 < mass < 1:
        raise UsageError(
            "--mass takes a share of the attention", expected="a number between 0 and 1", found=f"{mass:g}"
        )
    if size < 1:
        raise UsageError("--size takes a number of pixels", expected="480, or another number above 0", found=str(size))
    drawn = api.visualize(folder, image, out, size=size, mass=mass)
    if as_json:
        print_json(drawn.to_dict())
    else:
        print("\n".join(visualization_lines(drawn)))


@app.command()
def demo(
    folder: Target = "dinoport-demo",
    force: Force = False,
    report: ReportPath = None,
    as_json: Json = False,
) -> None:
    """Convert the training checkpoint that ships with dinoport."""
    from dinoport import api
    from dinoport.cli.console import progress_bars

    target = local_folder(folder)
    check_report(report, None, target)
    with interruptible(target):
        with progress_bars() as on_progress:
            done = api.demo(target, force=force, pictures=is_page(report), on_progress=on_progress)
        keep_and_show(done, as_json, report, target)


def main() -> NoReturn:
    """The entry point of the program."""
    run(lambda: app(standalone_mode=False), as_json="--json" in sys.argv)
