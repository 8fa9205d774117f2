"""Fuzz the readers of checkpoints against the genuine ones, for as long as one likes.

    python -m tests.fuzz.differential.run torch|safetensors|distributed SECONDS [--seed N] [--python P]… [--path P]…

This interpreter counts always. Each `--python` brings another version of torch, each `--path` one of safetensors.
Differences lie in .fuzz/differential, as files.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.fuzz.differential import folders
from tests.fuzz.differential.comparison import Answer, GenuineReader, difference, ours
from tests.fuzz.differential.corpus import corpus
from tests.fuzz.differential.headers import mutated_header
from tests.fuzz.differential.mutator import mutated

FOUND = Path(".fuzz/differential")

Files = Mapping[str, bytes]
Reader = Callable[[Path], Answer]


def seeded(seed: int) -> Iterator[tuple[int, random.Random]]:
    for number in range(sys.maxsize):
        yield number, random.Random(f"{seed} {number}")  # noqa: S311 - the same files for the same seed


def torch_files(seed: int) -> Iterator[tuple[str, Files]]:
    """The corpus as it is, then mutations of it without end; the same for the same seed."""
    named = corpus()
    pool = [file for _, file in named]
    for name, file in named:
        yield name, {"file.pth": file.bytes()}
    for number, rng in seeded(seed):
        name, file = rng.choice(named)
        yield f"{name}, mutation {number}", {"file.pth": mutated(rng, file, pool).bytes()}


def safetensors_files(seed: int) -> Iterator[tuple[str, Files]]:
    for number, rng in seeded(seed):
        yield f"mutation {number}", {"model.safetensors": mutated_header(rng)}


def distributed_folders(seed: int) -> Iterator[tuple[str, Files]]:
    for files in folders.written():
        yield "as written", files
    for number, rng in seeded(seed):
        yield f"mutation {number}", folders.mutated_folder(rng)


FORMATS = {"torch": torch_files, "safetensors": safetensors_files, "distributed": distributed_folders}


def readers_of(form: str, pythons: Sequence[str | Path], paths: Sequence[Path]) -> list[GenuineReader]:
    if form == "safetensors":
        return [GenuineReader("safetensors_reader.py", ("",), path=path) for path in (None, *paths)]
    modes = ("distributed",) if form == "distributed" else ("safe", "unsafe")
    names = {"names": folders.names()} if form == "distributed" else {}
    return [GenuineReader(modes=modes, python=python, **names) for python in (sys.executable, *pythons)]


def compared(
    cases: Iterator[tuple[str, Files]], genuine: Sequence[GenuineReader], reader: Reader = ours
) -> Iterator[tuple[str, Path, Answer, str | None]]:
    """What came of each case: where it lies for now, our answer, and the difference where there is one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as top:  # noqa: S108  # memory, made and removed here
        for name, files in cases:
            folder = Path(top, "case")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file, data in files.items():
                (folder / file).write_bytes(data)
            path = folder / next(iter(files)) if len(files) == 1 else folder
            mine = reader(path)
            yield (
                name,
                path,
                mine,
                None if mine.tensors is None else difference(mine, [each.read(path) for each in genuine]),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=FORMATS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--path", action="append", default=[], type=Path)
    options = parser.parse_args()
    genuine = readers_of(options.form, options.python, options.path)
    print(f"{options.form}, seed {options.seed}, {', '.join(reader.version for reader in genuine)}", flush=True)
    end = time.monotonic() + options.seconds
    counts: Counter[str] = Counter()
    for name, path, mine, problem in compared(FORMATS[options.form](options.seed), genuine):
        counts["executions"] += 1
        counts["different" if problem else "refused" if mine.tensors is None else "read alike"] += 1
        if problem:
            FOUND.mkdir(parents=True, exist_ok=True)
            kept = FOUND / f"{options.form}-{options.seed}-{counts['executions']}"
            shutil.copytree(path, kept) if path.is_dir() else shutil.copy(path, kept)
            print(f"{kept}: {name}: {problem}", flush=True)
        if time.monotonic() > end:
            break
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    sys.exit(bool(counts["different"]))


if __name__ == "__main__":
    main()
