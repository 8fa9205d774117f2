"""One run of the command line: signals become an orderly end, errors a message, both an exit code."""

from __future__ import annotations

import io
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dinoport.cli.output import PUBLISHED, print_json
from dinoport.cli.stdout import Stdout, Unheard, watched_stdout
from dinoport.errors import DinoportError, OutputError, UsageError

WIDTH = 80

INTERRUPTED = 130
"""What a shell gives for a program that Ctrl-C ended."""

UNHEARD = 141
"""What a shell gives for a program whose reader went away, as with `| head`: 128 and the number of SIGPIPE."""


PLAINLY = {
    "Input should be a valid integer, unable to parse string as an integer": "a whole number is needed.",
    "Input should be a valid number, unable to parse string as a number": "a number is needed.",
}
"""What Pydantic says of an option's value, and what is said instead."""

RETRY_SECONDS = 0.01

_asked_to_stop: set[int] = set()
"""The signals that have asked this run to stop."""


class Interrupted(BaseException):
    """Ctrl-C or a request to stop, raised wherever the work is, so that it is cleaned up on the way out."""


class StoppedError(DinoportError):
    """The same as an error, once everything is cleaned up."""

    exit_code = INTERRUPTED


def run(command: Callable[[], object], *, as_json: bool = False) -> NoReturn:
    """Run the command line and exit with its code: 0, 1, 2, 3, 130 or 141.

    With `as_json` an error is a JSON object on stdout too, where a command has printed nothing there.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that a terminal cannot show is no reason to fail
    _asked_to_stop.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with watched_stdout() as stdout:
        code = _code_of(command, stdout, as_json)
    sys.exit(code)


def _code_of(command: Callable[[], object], stdout: Stdout, as_json: bool) -> int:
    try:
        code = command()
        stdout.flush()
        return code if isinstance(code, int) else 0
    except Unheard:
        return UNHEARD
    except Exception as error:
        failure = _refused_by_click(error) or (error if isinstance(error, DinoportError) else _own_fault(error))
        if _asked_to_stop and not isinstance(error, DinoportError):
            failure = StoppedError("interrupted")  # which some code in between made an error of its own of
    except Interrupted as stop:
        failure = StoppedError(f"interrupted{stop}")
    if not isinstance(failure, _RefusedByClickError):
        _say(failure)
    if not isinstance(failure, OutputError):
        _finish(stdout, failure if as_json else None)
    return failure.exit_code


def _finish(stdout: Stdout, failure: DinoportError | None) -> None:
    """Print an error as JSON, where a command has printed nothing, and whatever waits to be written."""
    try:
        if failure and not stdout.used:
            print_json(failure.to_dict())
        stdout.flush()
    except OutputError as error:
        _say(error)
    except Unheard:
        pass


def _say(error: DinoportError) -> None:
    """Print a message on stderr, if there is one that can be written to."""
    with suppress(OSError):
        print(_shown(error), file=sys.stderr)


def _shown(error: DinoportError) -> str:
    """The message as it is; on a terminal in lines of at most 80 columns."""
    lines = (str(error) if isinstance(error, StoppedError) else f"error: {error}").split("\n")
    if not sys.stderr.isatty():
        return "\n".join(lines)
    wrapped = (
        textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in lines
    )
    return "\n".join(part for parts in wrapped for part in parts)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise Interrupted, or as soon as no module is being imported any more: see `_is_importing`."""
    _asked_to_stop.add(number)
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)  # what is cleaned up now must not be stopped halfway
    if _is_importing(frame) and hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
        return
    raise Interrupted


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a command's module is half imported where a signal came.

    Native code that imports, as NumPy's does, prints what is raised in there with its traceback, and goes on.
    """
    while frame is not None and frame.f_code is not _code_of.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Say of an interrupted run whether it had published `folder` already."""
    before = _identity(folder)
    try:
        yield
    except Interrupted:
        published = _identity(folder) not in (None, before)
        told = f"{folder} {PUBLISHED}" if published else "nothing was published"
        raise Interrupted(f": {told}") from None


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _RefusedByClickError(UsageError):
    """What Click says of a command line, in its own way."""


def _refused_by_click(error: Exception) -> UsageError | None:
    if not hasattr(error, "format_message"):  # Typer brings a copy of Click, whose exceptions have no public name
        return None
    # Of such an exception mypy knows only that it is one: it has a message, and shows itself.
    text = str(getattr(error, "message", ""))
    for long, short in PLAINLY.items():
        if long in text:
            error.message = text.replace(long, short)  # type: ignore[attr-defined]
    with suppress(OSError):
        error.show()  # type: ignore[attr-defined]
    return _RefusedByClickError(error.format_message())


def _own_fault(error: Exception) -> DinoportError:
    """An error that no one foresaw, in the form of those that were."""
    if isinstance(error, MemoryError):
        return DinoportError("the memory of this machine is used up", next_step="--verify exact, which needs the least")
    if isinstance(error, OSError) and error.filename and error.strerror:
        path = str(error.filename)
        return DinoportError(
            f"{path} cannot be used: {error.strerror[:1].lower()}{error.strerror[1:]}", next_step=f"ls -ld {path}"
        )
    at = traceback.extract_tb(error.__traceback__)[-1]
    return DinoportError(
        f"dinoport met what it did not expect: {type(error).__name__}: {error}",
        where=f"{Path(at.filename).name}, line {at.lineno}",
        cause="a mistake in dinoport, or a damaged installation",
        next_step="report it with this message and the command",
    )
