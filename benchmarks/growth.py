"""How time and memory of a conversion grow with the file, from 20 MB to 8 GB, casts included.

`python benchmarks/growth.py [--rounds N] [--folder DIR] [--largest-mb N] [--quick]` prints Markdown. It needs twice the
largest file on disk, and memory to keep the same in the page cache.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import material
import timing

SIZES = (material.VIT_TINY, material.VIT_SMALL, material.VIT_BASE, material.VIT_LARGE, material.VIT_8GB)

COPY, UNPROVEN, EXACT = "cp, then sync", "--verify none", "--verify exact"
BFLOAT16, FLOAT16 = "--dtype bfloat16", "--dtype float16"

JOBS = {
    UNPROVEN: "convert_unproven",
    EXACT: "convert_exact",
    BFLOAT16: "convert_to_bfloat16",
    FLOAT16: "convert_to_float16",
}


def main() -> None:
    arguments = timing.arguments(__doc__, rounds=5)
    arguments.add_argument("--largest-mb", type=int, default=9000, help="leave larger files out")
    options = arguments.parse_args()
    largest_mb = 100 if options.quick else options.largest_mb
    times, memory = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        warm_up = material.checkpoint(material.WARM_UP, Path(folder))
        for architecture in SIZES:
            size_mb = material.size_bytes(architecture) / timing.MB
            if size_mb > largest_mb:
                continue
            rounds = 1 if options.quick else options.rounds if size_mb < 2000 else min(options.rounds, 2)
            source = material.checkpoint(architecture, Path(folder))
            found = measured(source, warm_up, Path(folder), rounds)
            source.unlink()
            ratio = timing.ratio(found[UNPROVEN], found[COPY])
            # Below, the fixed 10 ms of a conversion would be judged.
            judged = timing.judged(ratio, timing.COPY_LIMIT) if size_mb > 300 else (timing.amount(ratio, ""), "", "")
            seconds = [f"{timing.seconds(samples):.2f}" for samples in found.values()]
            times.append([f"{size_mb:.0f} MB", *seconds, *judged])
            peaks = [timing.peak_mb(samples) for name, samples in found.items() if name in JOBS]
            memory.append(
                [f"{size_mb:.0f} MB", *(f"{peak:.0f} MB" for peak in peaks), *timing.judged(max(peaks), timing.PEAK_MB)]
            )
    print("## From 20 MB to 8 GB\n")
    print("Seconds, medians of interleaved rounds (two for 8 GB), cache warm, start-up off. The ratio is that of")
    print(
        "`--verify none` to `cp`, then `sync`; checksums of source and target are part of every conversion. The casts"
    )
    print("are made with `--verify none`.\n")
    print(timing.table(["file", *found, "ratio", "limit", ""], times))
    print("\nPeak memory of the same runs.\n")
    print(timing.table(["file", *JOBS, "largest", "limit", ""], memory))


def measured(source: Path, warm_up: Path, folder: Path, rounds: int) -> dict[str, list[timing.Sample]]:
    timing.warm(source)
    candidates = {COPY: partial(timing.copy_and_sync, source, folder / "copy")}
    for name, job in JOBS.items():
        candidates[name] = partial(timing.job, job, source, folder / "converted", warm_up)
    return timing.interleaved(candidates, rounds)


if __name__ == "__main__":
    main()
