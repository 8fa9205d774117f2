"""One run of the command line: signals become an orderly end, errors a message, both an exit code."""

from __future__ import annotations

import io
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dinoport.errors import DinoportError

WIDTH = 80

INTERRUPTED = 130
"""What a shell gives for a program that Ctrl-C ended."""


class Interrupted(BaseException):
    """Ctrl-C or a request to stop, raised wherever the work is, so that it is cleaned up on the way out."""


def run(command: Callable[[], object]) -> NoReturn:
    """Run the command line and exit with its code: 0, 1, 2, 3 or 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that a terminal cannot show is no reason to fail
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        command()
    except Interrupted as stop:
        print(f"interrupted{stop}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except DinoportError as error:
        print(_shown(error), file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        print(_shown(_own_fault(error)), file=sys.stderr)
        sys.exit(DinoportError.exit_code)
    sys.exit(0)


def _shown(error: DinoportError) -> str:
    """The message as it is; on a terminal in lines of at most 80 columns."""
    lines = f"error: {error}".split("\n")
    if not sys.stderr.isatty():
        return "\n".join(lines)
    wrapped = (
        textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in lines
    )
    return "\n".join(part for parts in wrapped for part in parts)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)  # what is cleaned up now must not be stopped halfway
    raise Interrupted


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Say of an interrupted run whether it had published `folder` already."""
    before = _identity(folder)
    try:
        yield
    except Interrupted:
        published = _identity(folder) not in (None, before)
        raise Interrupted(f": {folder} was published before" if published else ": nothing was published") from None


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _own_fault(error: Exception) -> DinoportError:
    """An error that no one foresaw, in the form of those that were."""
    if isinstance(error, MemoryError):
        return DinoportError("the memory of this machine is used up", next_step="--verify exact, which needs the least")
    at = traceback.extract_tb(error.__traceback__)[-1]
    return DinoportError(
        f"dinoport met what it did not expect: {type(error).__name__}: {error}",
        where=f"{Path(at.filename).name}, line {at.lineno}",
        cause="a mistake in dinoport, or a damaged installation",
        next_step="report it with this message and the command",
    )
