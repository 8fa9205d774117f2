"""What the terminal shows beside data: progress bars on stderr, and a verdict in colour where there is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOW_AFTER_SECONDS = 1.0
"""Shorter work shows no bar."""

VERDICT_STYLES = {"equal": "green", "equal except": "green", "not equal": "red"}
"""Colours of the verdict's word; every other one is yellow: something was not looked at."""


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of (stage, bytes done, bytes in all) that draws a bar once the work has lasted a second."""
    bars: Progress | None = None
    tasks: dict[str, TaskID] = {}
    begun = time.monotonic()
    on_terminal = sys.stderr.isatty()
    lock = Lock()

    def show(stage: str, done: int, total: int) -> None:
        nonlocal bars
        if not on_terminal or time.monotonic() - begun < SHOW_AFTER_SECONDS:
            return
        with lock:
            if bars is None:
                bars = _started_bars()
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None)
            bars.update(tasks[stage], completed=done, total=total or None)  # which may grow

    try:
        yield show
    finally:
        on_terminal = False  # a thread that is still fetching draws nothing after the end
        if bars is not None:
            bars.stop()


def _started_bars() -> Progress:
    from rich.console import Console  # 60 ms of imports, not for work that is done by then
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    bars.start()
    return bars


def print_report(lines: Iterable[str], word: str) -> None:
    """Print a report on stdout. On a terminal that has colours, the verdict (`word`) and what failed are coloured.

    Colour repeats what the words say; without a terminal, or with NO_COLOR, the same lines are printed plainly.
    """
    if not sys.stdout.isatty():
        print("\n".join(lines))
        return
    from rich.console import Console
    from rich.text import Text

    from dinoport.report.text import LABEL

    console = Console(highlight=False, soft_wrap=True)
    label = ""
    for line in lines:
        label = line[:LABEL].strip() or (label if line.strip() else "")
        text = Text(line)
        if label == "verdict":
            text.stylize(f"bold {VERDICT_STYLES.get(word, 'yellow')}")
        elif label in ("because", "cause") or line[LABEL:].startswith("failed:"):
            text.stylize("red", LABEL)
        text.stylize("dim", 0, LABEL)
        console.print(text)
