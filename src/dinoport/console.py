"""What the terminal shows beside data: progress bars on stderr, and a verdict in colour where there is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

SHOW_AFTER_SECONDS = 1.0
"""Shorter work shows no bar."""


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of (stage, bytes done, bytes in all) that draws a bar once the work has lasted a second."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}
    begun = time.monotonic()

    def show(stage: str, done: int, total: int) -> None:
        if time.monotonic() - begun < SHOW_AFTER_SECONDS:
            return
        if not tasks:
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(tasks[stage], completed=done)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()


def print_report(lines: Iterable[str]) -> None:
    """Print a report on stdout; the verdict's lines are coloured on a terminal that has colours."""
    if not sys.stdout.isatty():
        print("\n".join(lines))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    in_verdict = False
    for line in lines:
        in_verdict = line.startswith("verdict") or (in_verdict and line.startswith(" "))
        style = ("bold red" if "not equal" in line else "bold green") if in_verdict else None
        console.print(line, style=style, markup=False)
