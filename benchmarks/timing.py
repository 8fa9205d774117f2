"""Measuring jobs against each other on a machine that is not quiet: interleaved, medians, ratios within a round."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

MB = 1_000_000

COPY_LIMIT = 1.5
"""How much longer than `cp` and `sync` a conversion with checksums may take. Without them it would be 1.3."""

PEAK_MB = 80
"""What a conversion without torch may hold, whatever the size."""


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--folder", type=Path, help="where to work: the disk to be measured")
    parser.add_argument("--quick", action="store_true", help="one round of something small, to see that it runs")
    return parser


@dataclass(frozen=True)
class Sample:
    """What one run took. `cpu_seconds` are of all its threads and children; `peak_bytes` is its memory's high water."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int = 0


Samples = Sequence[Sample]


def job(name: str, source: Path, target: Path, warm_up: Path) -> Sample:
    """Run a job of `jobs.py` in a process of its own and remove what it wrote."""
    command = [sys.executable, str(Path(__file__).with_name("jobs.py")), name, str(source), str(target), str(warm_up)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(target, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return Sample(**json.loads(done.stdout.splitlines()[-1]))


def copy_and_sync(source: Path, target: Path) -> Sample:
    """`cp SOURCE TARGET`, then `sync TARGET`."""
    sample = command(["cp", str(source), str(target)], ["sync", str(target)])
    target.unlink()
    return sample


def command(*commands: Sequence[str]) -> Sample:
    """Run commands one after the other, their output thrown away."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for arguments in commands:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Sample(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def interleaved(candidates: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Run every candidate once a round, so that what else the machine does hits all alike."""
    samples: dict[str, list[Sample]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name, run in candidates.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            os.sync()  # what the run before left to be written is not this run's to wait for
            samples[name].append(run())
    return samples


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(MB)
        while file.readinto(buffer):
            pass


def seconds(samples: Samples) -> float:
    return median(sample.seconds for sample in samples)


def fastest(samples: Samples) -> float:
    """The run that was disturbed least."""
    return min(sample.seconds for sample in samples)


def cpu_seconds(samples: Samples) -> float:
    return median(sample.cpu_seconds for sample in samples)


def peak_mb(samples: Samples) -> float:
    return max(sample.peak_bytes for sample in samples) / MB


def ratio(samples: Samples, baseline: Samples) -> float:
    """The median over the rounds of one run's time against the baseline's of the same round."""
    return median(ours.seconds / theirs.seconds for ours, theirs in zip(samples, baseline, strict=True))


def amount(value: float, unit: str) -> str:
    """A figure as people read it: `0.37 × usual recipe`, `74 MB`."""
    return f"{value:.2f}{unit}" if value < 10 else f"{value:.0f}{unit}"


def judged(found: float, limit: float, unit: str = "") -> tuple[str, str, str]:
    """Three cells: what was found, the limit, and whether it holds."""
    return amount(found, unit), f"≤ {limit:g}", "ok" if found <= limit else "over"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown that reads well as plain text too."""
    cells = [[*row, *[""] * (len(head) - len(row))] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )


def machine() -> str:
    """One line: what the figures were made with."""
    names = ("dinoport", "numpy", "torch", "transformers", "safetensors")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{time.strftime('%Y-%m-%d')}, {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
