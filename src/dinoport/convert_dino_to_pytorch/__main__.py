"""The script that Transformers had for DINO, with its options: `python -m dinoport.convert_dino_to_pytorch.__main__`.

Same names, same defaults, and no pooler, as there. docs/migration.md says what its output had otherwise, and why.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dinoport.cli.output import PUBLISHED
from dinoport.cli.session import Interrupted, run
from dinoport.errors import OutputError, SettingError, UnknownModelError
from dinoport.formats.transformers_folder import CONFIG
from dinoport.shown.calls import FILE, FOLDER, runnable
from dinoport.shown.packages import PROOF, missing
from dinoport.shown.text import shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert a published model into a folder. Raises DinoportError."""
    options = _options(arguments)
    from dinoport import api
    from dinoport.cli.console import progress_bars
    from dinoport.codebases.published_names import published
    from dinoport.finding.sources import PublishedName
    from dinoport.request import Request

    model = published(options.model_name)
    if model is None:
        raise UnknownModelError(
            f"{options.model_name} is not the name of a published model",
            expected="dino_vits16, dino_vits8, dino_vitb16, dino_vitb8, or another that dinoport models lists",
            next_step=f"for a file: {runnable('convert', FILE, FOLDER, pooler='none')}",
        )
    if not options.base_model and model.head_url is None:
        raise SettingError(
            f"--no-base_model: there is no ImageNet classifier for {model.name} that can be converted",
            cause=model.no_head,
            next_step="--base_model, the default",
        )
    folder: Path = options.pytorch_dump_folder_path
    head, labels = (None, None) if options.base_model else ("imagenet", "imagenet-1k")
    with _told(folder):
        with progress_bars() as on_progress:
            report = api.convert(
                PublishedName(model.name),
                folder,
                Request(head=head, labels=labels, pooler="none"),
                level="exact" if missing(*PROOF) else "full",
                merge=True,
                on_progress=on_progress,
            )
        print(shown(f"Saving model {model.name} to {folder}"))
        print(shown(f"Saving image processor to {folder}"))
        print(shown(f"{report.class_name}: {report.verdict}"), flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dinoport.convert_dino_to_pytorch.__main__",
        description="Convert a published DINO model, with the options of the script that Transformers had for it.",
    )
    parser.add_argument("--model_name", default="dino_vitb16", help="a published name (default: dino_vitb16)")
    parser.add_argument(
        "--pytorch_dump_folder_path", type=Path, required=True, help="the folder to write; it may exist"
    )
    parser.add_argument(
        "--base_model",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the backbone alone; --no-base_model adds the ImageNet classifier where one can be converted",
    )
    return parser.parse_args(arguments)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say which files were replaced in a folder that existed, and of an interrupted run how far it came."""
    before = _files(folder)
    try:
        yield
    except Interrupted:
        after = _files(folder)
        if after == before:
            raise Interrupted(": no folder was written") from None
        if after.get(CONFIG) in (None, before.get(CONFIG)):
            raise Interrupted(f": only a part of the files was moved into {folder}; run it again") from None
        raise Interrupted(f": {folder} {PUBLISHED}") from None
    except OutputError as error:
        error.what += f"; {folder} {PUBLISHED}"
        raise
    after = _files(folder)
    replaced = [name for name, number in before.items() if after.get(name) != number]
    if replaced:
        print(shown(f"replaced in {folder}: {', '.join(replaced)}"), file=sys.stderr)


def _files(folder: Path) -> dict[str, int]:
    """What is in a folder, with the numbers by which the disk knows it: another file has another."""
    if not folder.is_dir():
        return {}
    return {path.name: path.lstat().st_ino for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    run(main)
