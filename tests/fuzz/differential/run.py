"""Fuzz the readers of torch files against torch.load, for as long as one likes.

    python -m tests.fuzz.differential.run SECONDS [--seed N] [--python INTERPRETER]…

Each interpreter brings a version of torch; that of this process counts always. Differences lie in .fuzz/differential.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fuzz.differential.comparison import Answer, TorchReader, difference, ours
from tests.fuzz.differential.corpus import corpus
from tests.fuzz.differential.mutator import mutated

FOUND = Path(".fuzz/differential")

Reader = Callable[[bytes], Answer]


def cases(seed: int) -> Iterator[tuple[str, bytes]]:
    """The corpus as it is, then mutations of it without end; the same for the same seed."""
    named = corpus()
    pool = [file for _, file in named]
    for name, file in named:
        yield name, file.bytes()
    for number in range(sys.maxsize):
        rng = random.Random(f"{seed} {number}")  # noqa: S311 - the same files for the same seed
        name, file = rng.choice(named)
        yield f"{name}, seed {seed}, mutation {number}", mutated(rng, file, pool).bytes()


def compared(
    names_and_files: Iterator[tuple[str, bytes]], readers: list[TorchReader], reader: Reader = ours
) -> Iterator[tuple[str, bytes, Answer, str | None]]:
    """What came of each file: our answer, and the difference from torch's where there is one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        path = Path(folder, "file.pth")
        for name, data in names_and_files:
            path.write_bytes(data)
            mine = reader(data)
            yield name, data, mine, mine.tensors and difference(mine, [torch.read(path) for torch in readers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--python", action="append", default=[])
    options = parser.parse_args()
    readers = [TorchReader(python) for python in (sys.executable, *options.python)]
    print(f"seed {options.seed}, torch {', '.join(reader.version for reader in readers)}", flush=True)
    end = time.monotonic() + options.seconds
    counts: Counter[str] = Counter()
    for name, data, mine, problem in compared(cases(options.seed), readers):
        counts["executions"] += 1
        counts[
            "read alike" if mine.tensors is not None and not problem else "refused" if not problem else "different"
        ] += 1
        if problem:
            FOUND.mkdir(parents=True, exist_ok=True)
            file = FOUND / f"{options.seed}-{counts['executions']}.pth"
            file.write_bytes(data)
            print(f"{file}: {name}: {problem}", flush=True)
        if time.monotonic() > end:
            break
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    sys.exit(bool(counts["different"]))


if __name__ == "__main__":
    main()
