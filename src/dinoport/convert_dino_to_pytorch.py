"""The script that Transformers had for DINO, with its options: `python -m dinoport.convert_dino_to_pytorch`.

Same names, same defaults, and no pooler, as there. docs/migration.md says what its output had otherwise, and why.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from dinoport.errors import SettingError, UnknownModelError
from dinoport.session import interruptible, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert a published model into a folder. Raises DinoportError."""
    options = _options(arguments)
    from dinoport import api
    from dinoport.console import progress_bars
    from dinoport.families.published_names import published
    from dinoport.request import Request

    model = published(options.model_name)
    if model is None:
        raise UnknownModelError(
            f"{options.model_name} is not the name of a published model",
            expected="dino_vits16, dino_vits8, dino_vitb16, dino_vitb8, or another that dinoport models lists",
            next_step="for a file: dinoport convert FILE FOLDER --pooler none",
        )
    if not options.base_model and model.head_url is None:
        raise SettingError(
            f"--no-base_model: there is no ImageNet classifier for {model.name} that can be converted",
            cause=model.no_head,
            next_step="--base_model, the default",
        )
    folder: Path = options.pytorch_dump_folder_path
    if os.path.lexists(model.name) and not (folder.exists() and folder.samefile(model.name)):
        raise SettingError(
            f"{model.name} is also the name of something in this folder",
            found=str(Path(model.name).absolute()),
            next_step="run this in another folder; this script takes published models only",
        )
    head, labels = (None, None) if options.base_model else ("imagenet", "imagenet-1k")
    full = all(find_spec(name) for name in api.PROOF_PACKAGES)
    with interruptible(folder), _merged(folder), progress_bars() as on_progress:
        report = api.convert(
            model.name,
            folder,
            Request(head=head, labels=labels, pooler="none"),
            level="full" if full else "exact",
            on_progress=on_progress,
        )
    print(f"Saving model {model.name} to {folder}")
    print(f"Saving image processor to {folder}")
    print(f"{report.class_name}: {report.verdict}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dinoport.convert_dino_to_pytorch",
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
def _merged(folder: Path) -> Iterator[None]:
    """Let an existing folder be written to: what is written replaces its namesakes, and all other files stay.

    Meanwhile the old folder stands aside under another name, to which it returns if the block fails; if even that is
    cut short, the next run brings it back.
    """
    from dinoport.writing.place import Place

    place = Place.of(folder)
    place.check_precious()
    real, aside = place.path, place.path.with_name(f"{place.path.name}.before-conversion")
    if aside.is_dir() and not os.path.lexists(real):
        aside.rename(real)
    if not real.is_dir():
        yield
        return
    real.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(real)
        raise
    replaced = []
    for old in sorted(aside.iterdir()):
        if os.path.lexists(real / old.name):
            replaced.append(old.name)
        else:
            old.rename(real / old.name)
    shutil.rmtree(aside)
    if replaced:
        print(f"replaced in {folder}: {', '.join(replaced)}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
