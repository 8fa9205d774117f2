"""Jobs a minute of `dinoport fleet` against `dinoport convert` as a process for each, exact and full.

`python benchmarks/fleet.py [--folder DIR] [--quick]` prints Markdown. The checkpoints are small, as what is measured is
what carries them; the processor's time counts more than the clock where other work is going on.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import material
import timing

COUNTS = {"exact": 24, "full": 8}
QUICK = {"exact": 4, "full": 2}


def main() -> None:
    options = timing.arguments(__doc__, rounds=3).parse_args()
    counts = QUICK if options.quick else COUNTS
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        rows = [row for level in counts for row in measured(Path(name), level, counts[level], options.rounds)]
    head = ("jobs", "carried by", "jobs a minute", "processor seconds a job", "against a process each")
    print("## Many checkpoints\n")
    print(timing.table(head, rows))


def measured(folder: Path, level: str, count: int, rounds: int) -> Iterable[tuple[str, ...]]:
    """A row for each of the two ways."""
    sources = copies(folder / level, count)
    out = folder / "out"

    def one_by_one() -> timing.Sample:
        out.mkdir()
        sample = timing.command(*(program("convert", source, out / source.stem, level) for source in sources))
        shutil.rmtree(out)
        return sample

    def at_once() -> timing.Sample:
        sample = timing.command(program("fleet", out, *sources, level))
        shutil.rmtree(out)
        return sample

    samples = timing.interleaved({"a process each": one_by_one, "dinoport fleet": at_once}, rounds)
    for way, found in samples.items():
        seconds, cpu = timing.seconds(found), timing.cpu_seconds(found)
        ratio = timing.ratio(found, samples["a process each"])
        yield f"{count}, {level}", way, f"{60 * count / seconds:.0f}", f"{cpu / count:.2f}", f"{ratio:.2f} ×"


def program(*words: object) -> list[str]:
    *others, level = map(str, words)
    return [sys.executable, "-m", "dinoport", *others, "--num-heads", "1", "--verify", level, "--quiet"]


def copies(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    made = material.checkpoint(material.WARM_UP, folder)
    sources = [folder / f"step{number:03}.pth" for number in range(count)]
    for source in sources:
        shutil.copyfile(made, source)
    made.unlink()
    return sources


if __name__ == "__main__":
    main()
