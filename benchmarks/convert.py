"""A conversion against a file copy and against the usual recipe, on a ViT-B/16 made here.

`python benchmarks/convert.py [--rounds N] [--folder DIR] [--quick]` prints Markdown.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import material
import timing
from dinoport.networks.vit.architecture import ViT
from timing import judged

COPY, RECIPE = "cp, then sync", "usual recipe"
UNPROVEN, EXACT, PROVEN = "--verify none", "--verify exact", "--verify full"

LIMITS = {UNPROVEN: (COPY, timing.COPY_LIMIT), EXACT: (RECIPE, 0.4), PROVEN: (RECIPE, 1.0)}
"""What is measured against what, and the ratio to reach."""


def main() -> None:
    options = timing.arguments(__doc__, rounds=7).parse_args()
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(conversion(Path(folder), rounds, material.VIT_SMALL if options.quick else material.VIT_BASE))


def conversion(folder: Path, rounds: int, architecture: ViT) -> str:
    warm_up, source = (material.checkpoint(each, folder) for each in (material.WARM_UP, architecture))
    timing.warm(source)
    run = partial(timing.job, source=source, target=folder / "converted", warm_up=warm_up)
    found = timing.interleaved(
        {
            COPY: partial(timing.copy_and_sync, source, folder / "copy"),
            UNPROVEN: partial(run, "convert_unproven"),
            EXACT: partial(run, "convert_exact"),
            RECIPE: partial(run, "usual_recipe"),
            PROVEN: partial(run, "convert_proven"),
        },
        rounds,
    )
    rows, memory = [], []
    for name, samples in found.items():
        row = [name, f"{timing.seconds(samples):.3f}", f"{timing.fastest(samples):.3f}"]
        row.append(f"{timing.cpu_seconds(samples):.3f}")
        for baseline, limit in [LIMITS[name]] if name in LIMITS else []:
            row += judged(timing.ratio(samples, found[baseline]), limit, f" × {baseline}")
        rows.append(row)
        if name in (UNPROVEN, EXACT):
            memory.append([name, *judged(timing.peak_mb(samples), timing.PEAK_MB, " MB")])
        elif name != COPY:
            memory.append([name, timing.amount(timing.peak_mb(samples), " MB")])
    return "\n".join(
        [
            f"## Converting a DINO ViT of width {architecture.width} ({source.stat().st_size / timing.MB:.0f} MB)",
            "",
            f"Medians of {rounds} interleaved rounds, cache warm. Each conversion runs in a process of its own, after",
            "one of a tiny file, so that imports and start-up are in neither side's time. Ratios are medians of the",
            "rounds' own ratios.",
            "",
            timing.table(["what", "median s", "fastest s", "CPU s", "ratio", "limit", ""], rows),
            "",
            timing.table(["what", "peak memory", "limit", ""], memory),
            "",
        ]
    )


if __name__ == "__main__":
    main()
