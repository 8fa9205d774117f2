"""One run of the command line: signals become an orderly end, errors a message, both an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import enumerate as running_threads
from types import FrameType
from typing import NoReturn

from dinoport.cli.options import as_options
from dinoport.cli.output import PUBLISHED, as_worded, lines_on, print_json
from dinoport.cli.stdout import Stdout, Unheard, tell, watched_stdout
from dinoport.errors import DinoportError, OutputError
from dinoport.progress import ASIDE
from dinoport.shown.lines import hanging
from dinoport.shown.text import as_word

INTERRUPTED = 130
"""What a shell gives for a program that Ctrl-C ended."""

UNHEARD = 141
"""What a shell gives for a program whose reader went away, as with `| head`: 128 and the number of SIGPIPE."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

RETRY_SECONDS, WATCH_SECONDS = 0.01, 0.1

PATIENCE_SECONDS = 0.3
"""How long an import, or steps that belong together, may go on after the request to stop."""

LOCKING = tuple(("<frozen importlib._bootstrap>", name) for name in ("cb", "_get_module_lock"))
"""Functions of Python's import that take its lock for all threads. What is raised in there leaves it taken for good."""

CLEANED_UP = (str(Path("dinoport", "api.py")), str(Path("dinoport", "cli", "output.py")))
"""Where a command has written something, or says so: an import in there is waited for."""


WAITED_FOR = (
    str(Path("dinoport", "writing", "commit.py")),
    str(Path("filelock", "_api.py")),
    "contextlib.py",
)
"""Where a few steps belong together: a lock is taken, a folder is renamed, or what a block leaves is cleaned up."""


class Interrupted(BaseException):
    """Ctrl-C or a request to stop, raised wherever the work is, so that it is cleaned up on the way out."""


class StoppedError(DinoportError):
    """The same as an error, once everything is cleaned up."""

    exit_code = INTERRUPTED


def run(command: Callable[[], object], *, as_json: bool = False) -> NoReturn:
    """Run the command line and exit with its code: 0, 1, 2, 3, 130 or 141.

    With `as_json` an error is a JSON object on stdout too, where a command has printed nothing there.
    """
    sys.stderr = sys.stderr or io.StringIO()  # a program that was started without one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that a terminal cannot show is not a reason to fail
    with watched_stdout() as stdout:
        try:
            code = _Session(stdout, as_json).code_of(command)
        except Interrupted:  # while the end of a command was being told
            code = INTERRUPTED
        turn_deaf()
    if any(thread.name == ASIDE for thread in running_threads()):
        os._exit(code)  # one is in the middle of native code, which Python cannot end
    sys.exit(code)


class _Session:
    """One run: what was asked of it, and how it ends."""

    def __init__(self, stdout: Stdout, as_json: bool) -> None:
        self._stdout, self._as_json = stdout, as_json
        self._asked_to_stop = False
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._interrupt)

    def code_of(self, command: Callable[[], object]) -> int:
        """Run a command to its end, and say what went wrong."""
        try:
            code = command()
            self._stdout.flush()
            return code if isinstance(code, int) else 0
        except Unheard:
            return UNHEARD
        except Exception as error:
            failure = error if isinstance(error, DinoportError) else _own_fault(error)
            if self._asked_to_stop and not isinstance(error, DinoportError):
                failure = StoppedError("interrupted")  # which some code in between made an error of its own of
        except Interrupted as stop:
            _watch_no_more()
            failure = StoppedError(f"interrupted{stop}")
        finally:
            _watch_no_more()
        return self._ended(failure)

    def _ended(self, failure: DinoportError) -> int:
        turn_deaf()
        _say(failure)
        if not isinstance(failure, OutputError):
            _finish(self._stdout, failure if self._as_json else None)
        return failure.exit_code

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise Interrupted, as soon as no module is being imported and no step stands half done.

        Native code that imports, as NumPy's does, prints what is raised in there with its traceback, and goes on.
        """
        self._asked_to_stop = True
        turn_deaf()  # what is cleaned up now must not be stopped halfway
        sys.unraisablehook = _unheard_of
        self._raise_soon(frame, time.monotonic() + PATIENCE_SECONDS)

    def _soon(self, seconds: float, ask: Callable[[int, FrameType | None], None]) -> None:
        """Look again whether the request is still on its way out, where the system can wake this up."""
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, ask)
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _ask_again(self, number: int, frame: FrameType | None) -> None:
        """Ask once more where native code or Python threw the request away, and the command just went on."""
        if _is_request(sys.exc_info()[1]):  # cleaning up
            self._soon(WATCH_SECONDS, self._ask_again)
        else:
            self._raise_soon(frame, time.monotonic())

    def _raise_soon(self, frame: FrameType | None, until: float) -> None:
        files = _files_on(frame)
        is_importing = any(file.startswith("<frozen importlib") for file in files)
        if is_importing and not any(file.endswith(CLEANED_UP) for file in files):
            os._exit(self._ended(StoppedError("interrupted")))  # no verb has begun, so there is nothing to clean up
        waits = is_importing or any(file.endswith(WAITED_FOR) for file in files)
        holds_lock = frame is not None and (frame.f_code.co_filename, frame.f_code.co_name) in LOCKING
        if hasattr(signal, "setitimer") and (holds_lock or (waits and time.monotonic() < until)):
            self._soon(RETRY_SECONDS, lambda number, frame: self._raise_soon(frame, until))
            return
        self._soon(WATCH_SECONDS, self._ask_again)
        raise Interrupted


def _watch_no_more() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _is_request(error: BaseException | None) -> bool:
    """Whether a request to stop is being handled, or what came of it."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


def _unheard_of(lost: sys.UnraisableHookArgs) -> None:
    """What Python prints of an error that it throws away; of a request to stop nothing, as it is asked again."""
    if lost.exc_type is not Interrupted:
        sys.__unraisablehook__(lost)


def turn_deaf() -> None:
    """Hear no request to stop any more: the work is done, or being cleaned up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _files_on(frame: FrameType | None) -> list[str]:
    """The files of the functions that are running, from the innermost to `run`."""
    files = []
    while frame is not None and frame.f_code is not _Session.code_of.__code__:
        if frame.f_code.co_name != "<module>":
            files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files


def _finish(stdout: Stdout, failure: DinoportError | None) -> None:
    """Print an error as JSON, where a command has printed nothing, and whatever waits to be written."""
    try:
        if failure and not stdout.used:
            print_json(as_worded(failure.to_dict()))
        stdout.flush()
    except OutputError as error:
        _say(error)
    except Unheard:
        pass


def _say(error: DinoportError) -> None:
    """Print a message on stderr, if there is one that can be written to."""
    tell(_shown(error))


def _shown(error: DinoportError) -> str:
    """The message as it is; on a terminal in lines that fit."""
    text = str(error) if isinstance(error, StoppedError) else f"error: {error}"
    if not sys.stderr.isatty():
        return as_options(text)
    with lines_on(sys.stderr):
        return "\n".join(part for line in text.split("\n") for part in hanging(line))


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Say of an interrupted run whether it had published `folder` already."""
    before = _identity(folder)
    try:
        yield
    except Interrupted:
        published = _identity(folder) not in (None, before)
        told = f"{folder} {PUBLISHED}" if published else "no folder was written"
        raise Interrupted(f": {told}") from None


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _own_fault(error: Exception) -> DinoportError:
    """An error that no one foresaw, in the form of those that were."""
    if isinstance(error, MemoryError):
        next_step = "`level='exact'`, which needs the least"
        return DinoportError("the memory of this machine is used up", next_step=next_step)
    if isinstance(error, OSError) and error.filename and error.strerror:
        path = str(error.filename)
        return DinoportError(
            f"{path} cannot be used: {error.strerror[:1].lower()}{error.strerror[1:]}",
            next_step=f"ls -ld {as_word(path)}",
        )
    try:
        Path.cwd()
    except OSError:
        return DinoportError("the current folder was deleted", next_step="cd to a folder that exists, and run it again")
    import traceback

    at = traceback.extract_tb(error.__traceback__)[-1]
    return DinoportError(
        f"dinoport met what it did not expect: {type(error).__name__}: {error}",
        where=f"{Path(at.filename).name}, line {at.lineno}",
        cause="a mistake in dinoport, or a damaged installation",
        next_step="report it with this message and the command",
    )
