"""Stdout, whatever it leads to: a full disk is an error like others, and a reader that went away is not.

Stderr may be full or closed: no work ends for what nobody hears.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from dinoport.errors import OutputError


def tell(text: str) -> None:
    """Print a line on stderr, where that can be written."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class Unheard(BaseException):
    """Nobody reads stdout any more."""


class Stdout:
    """A stream that says what it cannot do in words of ours, and again whenever it is used after that.

    `used` is whether something was printed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failure: OSError | None = None
        self.used = False

    def write(self, text: str) -> int:
        with self._told():
            written = self._stream.write(text)
        self.used = self.used or bool(text)
        return written

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        if self._failure is None:
            try:
                yield
                return
            except OSError as error:
                self._failure = error
                self._silence()
        if isinstance(self._failure, BrokenPipeError):
            raise Unheard from self._failure
        raise OutputError(
            f"the output cannot be written: {(self._failure.strerror or str(self._failure)).lower()}",
            where="stdout",
            next_step="send the output elsewhere",
        ) from self._failure

    def _silence(self) -> None:
        """What is still in the buffer goes nowhere, or Python complains of it in the end."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def watched_stdout() -> Iterator[Stdout]:
    """Put a `Stdout` in the place of sys.stdout. A program that was started without one prints nowhere."""
    before = sys.stdout
    watched = Stdout(before or io.StringIO())
    sys.stdout = cast(TextIO, watched)
    try:
        yield watched
    finally:
        sys.stdout = before
