"""A conversion against Transformers' own way from a folder to a folder, which converts and proves nothing.

`python benchmarks/transformers_io.py [--rounds N] [--folder DIR] [--quick]` prints Markdown.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import material
import timing
from dinoport import convert

LOAD_AND_SAVE, UNPROVEN, EXACT = "AutoModel.from_pretrained + save_pretrained", "--verify none", "--verify exact"


def main() -> None:
    options = timing.arguments(__doc__, rounds=7).parse_args()
    rounds = 1 if options.quick else options.rounds
    architecture = material.VIT_SMALL if options.quick else material.VIT_BASE
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        warm_up, source = (material.checkpoint(each, folder) for each in (material.WARM_UP, architecture))
        for each in (warm_up, source):
            convert(each, each.with_suffix(""), level="none")
            timing.warm(each.with_suffix("") / "model.safetensors")
        timing.warm(source)
        target = folder / "written"
        found = timing.interleaved(
            {
                LOAD_AND_SAVE: partial(
                    timing.job, "transformers_load_save", source.with_suffix(""), target, warm_up.with_suffix("")
                ),
                UNPROVEN: partial(timing.job, "convert_unproven", source, target, warm_up),
                EXACT: partial(timing.job, "convert_exact", source, target, warm_up),
            },
            rounds,
        )
        size_mb = source.stat().st_size / timing.MB
    rows = [
        [
            name,
            f"{timing.seconds(samples):.3f}",
            f"{timing.cpu_seconds(samples):.3f}",
            "" if name == LOAD_AND_SAVE else timing.amount(timing.ratio(samples, found[LOAD_AND_SAVE]), " ×"),
            timing.amount(timing.peak_mb(samples), " MB"),
        ]
        for name, samples in found.items()
    ]
    print(f"## Against Transformers' own load and save ({size_mb:.0f} MB)\n")
    print(
        f"Medians of {rounds} interleaved rounds, cache warm, start-up off. Transformers loads and saves a folder that"
    )
    print("was converted before, and does not wait for the disk; a conversion reads the original file and does.\n")
    print(timing.table(["what", "median s", "CPU s", "ratio", "peak memory"], rows))


if __name__ == "__main__":
    main()
