"""Whole processes from start to end, beside one that only imports what every one of them needs.

`inspect`, and `convert --verify none`, of the demo checkpoint stand beside `import numpy`; a whole `convert` of a
ViT-B beside the import of torch, the class and the image processor. Byte code is written, and the least of many runs
counts.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import material
import timing

START_LIMIT = 3.0
"""How many times `import numpy` a command may take that runs no model."""

PROOF_LIMIT = 1.25
"""How many times the imports of a full proof a whole conversion may take."""

CLASSES = "import torch; from transformers import AutoImageProcessor, ViTModel; ViTModel, AutoImageProcessor"


def main() -> None:
    options = timing.arguments(__doc__, rounds=20).parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as name,
        resources.as_file(resources.files("dinoport.work") / "demo_checkpoint.pth") as demo,
    ):
        folder = Path(name)
        source = material.checkpoint(material.WARM_UP if options.quick else material.VIT_BASE, folder)
        started = {
            "import numpy": python("-c", "import numpy"),
            "dinoport --help": python("-m", "dinoport", "--help"),
            "dinoport inspect": python("-m", "dinoport", "inspect", str(demo)),
            "dinoport convert --verify none": converting(demo, folder / "out", "--num-heads=2", "--verify=none"),
        }
        proven = {
            "import torch, the class and the image processor": python("-c", CLASSES),
            "dinoport convert, a ViT-B, proven": converting(source, folder / "out"),
        }
        print("## Start-up\n\nWhole processes, the least of all rounds.\n")
        show(started, 1 if options.quick else options.rounds, START_LIMIT)
        show(proven, 1 if options.quick else max(options.rounds // 4, 3), PROOF_LIMIT)


def python(*arguments: str) -> Callable[[], timing.Sample]:
    return partial(timing.command, [sys.executable, *arguments])


def converting(source: Path, target: Path, *options: str) -> Callable[[], timing.Sample]:
    run = python("-m", "dinoport", "convert", str(source), str(target), *options)

    def once() -> timing.Sample:
        shutil.rmtree(target, ignore_errors=True)
        return run()

    return once


def show(candidates: Mapping[str, Callable[[], timing.Sample]], rounds: int, limit: float) -> None:
    for run in candidates.values():  # byte code is written, files are in memory
        run()
    samples = timing.interleaved(candidates, rounds)
    first = next(iter(samples.values()))
    rows: list[Sequence[str]] = []
    for name, found in samples.items():
        wall, cpu = timing.fastest(found), min(sample.cpu_seconds for sample in found)
        least = min(sample.cpu_seconds for sample in first)
        rows.append(
            (name, f"{wall:.3f} s", f"{wall / timing.fastest(first):.2f}", f"{cpu:.3f} s", f"{cpu / least:.2f}")
        )
    print(timing.table(("process", "time", "times the first", "of all cores", "times the first"), rows))
    print(f"\nAllowed: {limit:g} times the first.\n")


if __name__ == "__main__":
    main()
