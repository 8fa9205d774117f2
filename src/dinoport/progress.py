"""How work tells how far it is, and how it goes on aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from dinoport.shown.text import shown

if TYPE_CHECKING:
    from concurrent.futures import Future

Found = TypeVar("Found")

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the bytes done, and the bytes in all; 0 where that is not known."""

STARTING = "starting"
READING = "reading"
WRITING = "writing"
CHECKSUMS = "checking checksums"
HASHING = "hashing"
COMPARING = "comparing tensors"
IMPORTING = "importing torch"
LOADING = "loading the model"
BLOCKS = "comparing block"
PIXELS = "comparing pixels"
RUNNING = "running the model"
DRAWING = "drawing"

ASIDE = "dinoport-aside"
"""The name of threads that a program need not wait for when it ends."""

FLEET = "converting checkpoint"
COUNTED = (BLOCKS, FLEET)
"""Stages that count something else than bytes."""

MAX_NAME_CHARACTERS = 32
"""Of a file's name beside its bar, on a terminal of 80 columns."""


def stage_of(verb: str, name: str) -> str:
    """A stage that concerns one file, such as `downloading dino_vitbase16_pretrain.pth`."""
    name = shown(name)
    short = name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 1]}…"
    return f"{verb} {short}".rstrip()


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


class Bar:
    """Adds up bytes from any thread and passes them on, beginning with none."""

    def __init__(self, stage: str, total: int, on_progress: Progress) -> None:
        self._stage, self._total, self._on_progress = stage, total, on_progress
        self._done = 0
        self.add(0)

    def add(self, count: int) -> None:
        self._done += count
        self._on_progress(self._stage, self._done, self._total)


def aside(function: Callable[[], Found], name: str = ASIDE) -> Future[Found]:
    """Run a function in a thread of its own, a daemon: only who wants its result waits for it."""
    from concurrent.futures import Future
    from threading import Thread

    done: Future[Found] = Future()

    def work() -> None:
        try:
            done.set_result(function())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=work, name=name, daemon=True).start()
    return done


class Together:
    """A state of the whole process that several threads may want at once: the first makes it, the last takes it back.

    `make` returns what takes it back.
    """

    def __init__(self, make: Callable[[], Callable[[], None]]) -> None:
        from threading import Lock

        self._make, self._lock, self._inside = make, Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._take_back = self._make()
            self._inside += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._take_back()
