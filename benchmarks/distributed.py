"""A distributed checkpoint of 2 GB, made here, against a copy of the wanted bytes and against merging it first.

`python benchmarks/distributed.py [--rounds N] [--folder DIR] [--quick]` prints Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from functools import partial
from pathlib import Path

import material
import timing
from dinoport import convert
from dinoport.networks.rotary_vit.architecture import RotaryViT
from material import TEACHER_ONLY, WHOLE_RUN
from timing import judged

COPY, RECIPE = "cp, then sync, of the wanted bytes", "merged, loaded, renamed, saved"
UNPROVEN, EXACT = "--verify none", "--verify exact"

LIMITS = {UNPROVEN: (COPY, 2.0), EXACT: (RECIPE, 0.5)}
"""What is measured against what, and the ratio to reach."""

PEAK_MB = 100
"""Without torch, whatever the size."""

RANKS = 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--folder", type=Path, help="where to work: a disk to be measured, 9 GB free")
    arguments.add_argument("--quick", action="store_true", help="one round of a ViT-S/16, to see that it runs")
    options = arguments.parse_args()
    rounds = 1 if options.quick else options.rounds
    cases = [("a whole run's", WHOLE_RUN, material.V3_BASE), ("a teacher's", TEACHER_ONLY, material.V3_2GB)]
    for title, copies, architecture in cases:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(measure(title, copies, material.V3_SMALL if options.quick else architecture, Path(folder), rounds))


def measure(title: str, copies: tuple[str, ...], architecture: RotaryViT, folder: Path, rounds: int) -> str:
    warm_up, source = (
        material.distributed(each, folder, copies, RANKS) for each in (material.V3_WARM_UP, architecture)
    )
    wanted = _wanted(source, folder)
    for path in [*source.iterdir(), wanted]:
        timing.warm(path)
    run = partial(timing.job, source=source, target=folder / "converted", warm_up=warm_up)
    found = timing.interleaved(
        {
            COPY: partial(timing.copy_and_sync, wanted, folder / "copy"),
            UNPROVEN: partial(run, "convert_unproven"),
            EXACT: partial(run, "convert_exact"),
            RECIPE: partial(run, "usual_distributed"),
        },
        rounds,
    )
    rows = []
    for name, samples in found.items():
        row = [name, f"{timing.seconds(samples):.2f}", f"{timing.fastest(samples):.2f}"]
        for baseline, limit in [LIMITS[name]] if name in LIMITS else []:
            row += judged(timing.ratio(samples, found[baseline]), limit)
        rows.append(row)
    memory = [[name, *judged(timing.peak_mb(found[name]), PEAK_MB, " MB")] for name in (UNPROVEN, EXACT)]
    memory.append([RECIPE, timing.amount(timing.peak_mb(found[RECIPE]), " MB")])
    size, wanted_size = sum(path.stat().st_size for path in source.iterdir()), wanted.stat().st_size
    against = ", ".join(f"{name} against {baseline}" for name, (baseline, _) in LIMITS.items())
    return "\n".join(
        [
            f"## A distributed checkpoint: {title}, {size / timing.MB:.0f} MB, {RANKS} ranks",
            "",
            f"{wanted_size / timing.MB:.0f} MB of it are wanted. Medians of {rounds} interleaved rounds, cache warm;",
            "each conversion runs in a process of its own, after one of a tiny folder. Ratios are medians of the",
            f"rounds' own ratios: {against}.",
            "",
            timing.table(["what", "median s", "fastest s", "ratio", "limit", ""], rows),
            "",
            timing.table(["what", "peak memory", "limit", ""], memory),
            "",
        ]
    )


def _wanted(source: Path, folder: Path) -> Path:
    """A file of what a conversion has to read and write: its own result."""
    convert(source, folder / "once", level="none")
    wanted = (folder / "once" / "model.safetensors").rename(folder / "wanted")
    shutil.rmtree(folder / "once")
    return wanted


if __name__ == "__main__":
    main()
