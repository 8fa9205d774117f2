"""What the terminal shows beside data: how far the work is, in one line on stderr, and a verdict in colour."""

import builtins
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from dinoport.cli.stdout import tell
from dinoport.progress import COUNTED, FLEET, STARTING, Progress, silent
from dinoport.shown.text import shown

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

SHOW_AFTER_SECONDS = 0.3
"""Shorter work shows nothing."""

END_WITHIN_SECONDS = 0.5
"""How long the end of a command waits for its bars."""

SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"
"""What bars that cannot be stopped would leave out: the line is emptied, and the cursor is back."""

BOLD, DIM, RED, GREEN, YELLOW, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"

VERDICT_COLOURS = {"equal": GREEN, "equal except": GREEN, "not equal": RED}
"""Colours of the verdict's word; every other one is yellow: something was not looked at."""


@contextmanager
def progress_bars(quiet: bool = False) -> Iterator[Progress]:
    """Yield an `on_progress` that shows the stage at hand with its bar and time, on a terminal or in a notebook.

    `with dinoport.progress_bars() as bars: dinoport.convert(source, folder, on_progress=bars)`. A notebook needs the
    package ipywidgets for it. Elsewhere, and with `quiet`, nothing is shown.
    """
    if quiet or not (sys.stderr.isatty() or is_notebook()):
        yield silent
        return
    line = _Line()
    try:
        yield line.tell
    finally:
        line.end()


@contextmanager
def fleet_progress(quiet: bool = False) -> Iterator[Callable[[Mapping[str, Any], int, int, Sequence[str]], None]]:
    """Yield a function that is told of each result: on a terminal one line says how far all are, else each has one."""
    with progress_bars(quiet) as on_progress:

        def on_result(result: Mapping[str, Any], done: int, total: int, running: Sequence[str]) -> None:
            on_progress(FLEET, done, total)
            if not quiet and not sys.stderr.isatty():
                tell(shown(f"{done}/{total} {result['status']}: {result['target']}"))

        yield on_result


def is_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter, told as rich tells it."""
    shell = getattr(builtins, "get_ipython", None)
    return shell is not None and type(shell()).__name__ == "ZMQInteractiveShell"


class _Line:
    """One line for the stage at hand. It appears late, from a thread of its own: the work may stand still for long.

    It is drawn anew ten times a second, whether or not the work tells anything. `clock` counts seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now = (STARTING, 0, 0)
        self._bars: Bars | None = None
        self._lock, self._ended = Lock(), Event()
        self._thread = Thread(target=self._appear, name="dinoport-progress", daemon=True)
        self._thread.start()

    def tell(self, stage: str, done: int, total: int) -> None:
        with self._lock:
            is_new, self._now = stage != self._now[0], (stage, done, total)
            if self._bars is not None:
                self._show(is_new)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(END_WITHIN_SECONDS)  # it may be importing the bars
        if (
            self._thread.is_alive()
        ):  # an import that was interrupted elsewhere keeps its lock, and this one waits for good
            print(SHOW_CURSOR, end="", file=sys.stderr, flush=True)
            return
        with self._lock:
            if self._bars is not None:
                with suppress(OSError):  # of a terminal that went away
                    self._bars.stop()
                self._bars = None

    def _appear(self) -> None:
        if self._ended.wait(SHOW_AFTER_SECONDS):
            return
        from rich.console import Console  # 60 ms of imports, not for work that is done by then
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[count]}"))
        bars = Progress(
            *columns, TimeElapsedColumn(), console=Console(stderr=True), get_time=self._clock, transient=True
        )
        with self._lock:
            if not self._ended.is_set():
                self._bars = bars
                bars.start()
                self._show(is_new=True)

    def _show(self, is_new: bool) -> None:
        """The stage at hand in the place of the one before."""
        (stage, done, total), bars = self._now, self._bars
        if bars is None:
            return
        if is_new:
            for task in bars.task_ids:
                bars.remove_task(task)
            bars.add_task(stage, total=None, count="")
        count = f"{done} of {total}" if stage in COUNTED else _bytes(done, total)
        bars.update(bars.task_ids[0], completed=done, total=total or None, count=count if done or total else "")


def _bytes(done: int, total: int) -> str:
    unit, size = next((each for each in (("GB", 10**9), ("MB", 10**6)) if max(done, total) >= each[1]), ("kB", 1000))
    return f"{done / size:.1f}/{total / size:.1f} {unit}" if total else f"{done / size:.1f} {unit}"


def print_report(lines: Iterable[str], word: str) -> None:
    """Print a report on stdout. On a terminal that has colours, the verdict (`word`) and what failed are coloured.

    Colour repeats what the words say; without a terminal, or with NO_COLOR, the same lines are printed plainly.
    """
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or os.name == "nt":
        print("\n".join(lines))
        return
    from dinoport.shown.lines import LABEL

    label = ""
    for line in lines:
        label = line[:LABEL].strip() or (label if line.strip() else "")
        if label == "verdict":
            colour = BOLD + VERDICT_COLOURS.get(word, YELLOW)
        else:
            colour = RED if label in ("because", "cause") or line[LABEL:].startswith("failed:") else ""
        print(f"{DIM}{line[:LABEL]}{PLAIN}{colour}{line[LABEL:]}{PLAIN}" if line else "")
