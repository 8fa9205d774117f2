"""Warm workers: processes that do one job after the other, and are replaced where a job brings one down.

A worker says what memory its job will take, and begins when there is as much. It ends when the fleet does, however that
ends: its pipe closes then. A job whose worker dies is tried once more, in a new one.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from dinoport.errors import DinoportError
from dinoport.work.fleets.results import CRASHED, KILLED, without_result
from dinoport.writing.commit import take_back

JOBS_EACH = 50
"""After so many a worker is replaced: what libraries keep does not add up."""

TRIES = 2

STARTS = 3
"""Workers that die one after the other before the first is ready: then none will be."""

STOP_SECONDS = 8.0
"""How long a job may take to clean up, once it is asked to stop."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

READY, NEEDS, RESULT = "ready", "needs", "result"


Work: TypeAlias = Callable[[Mapping[str, Any], Callable[[int], None]], Mapping[str, Any]]


class Stopped(BaseException):  # no error: a request, which a job cleans up after
    """Raised in a worker wherever its job is."""


def serve(connection: Connection, run: Work) -> None:
    """What a worker does: jobs from its pipe, until that closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the fleet decides
    signal.signal(signal.SIGTERM, _stop)
    _end_with_parent()

    def admit(size_bytes: int) -> None:
        connection.send((NEEDS, size_bytes))
        connection.recv()

    with suppress(EOFError, OSError, Stopped):
        connection.send((READY, None))
        while (job := connection.recv()) is not None:
            connection.send((RESULT, run(job, admit)))


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _end_with_parent() -> None:
    """A fleet that is killed outright cannot say so: its workers see it end."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="dinoport-parent", daemon=True).start()


@contextmanager
def _threads_are(count: int) -> Iterator[None]:
    """What a process that starts now reads before it imports NumPy or torch."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: one that starts now must not hear it before it ignores it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # whose own start ends with letting SIGINT through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """One process, and what it is doing. `needs` is the memory that its job waits for or has been given."""

    def __init__(self, threads: int, run: Work) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of threads that hold locks hangs
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, run), daemon=True)
        with _threads_are(threads), _deaf():
            self._process.start()
        theirs.close()
        self.job: Mapping[str, Any] | None = None
        self.tries = self.done = self.needs = 0
        self.is_ready = self.is_admitted = False

    def begin(self, job: Mapping[str, Any], tries: int) -> None:
        self.job, self.tries, self.needs, self.is_admitted = job, tries, 0, False
        self.connection.send(job)

    def admit(self) -> None:
        self.is_admitted = True
        with suppress(OSError):
            self.connection.send(True)

    def end(self) -> None:
        """Let it go, when it has nothing to do."""
        with suppress(OSError):
            self.connection.send(None)
        self._process.join(STOP_SECONDS)
        self.kill()

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.connection.close()

    def has_ended(self, seconds: float) -> bool:
        self._process.join(max(seconds, 0.0))
        return not self._process.is_alive()

    @property
    def ending(self) -> str:
        """How it died."""
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class Crew:
    """Does jobs in `count` workers at a time, as far as `memory_bytes` allow, and gives the results as they come."""

    def __init__(self, count: int, memory_bytes: int, threads: int, run: Work) -> None:
        """`run` does one job; each worker imports it by its name."""
        self._count, self._memory_bytes, self._threads, self._run = count, memory_bytes, threads, run
        self._workers: list[Worker] = []
        self._died_starting = 0
        self._waiting: deque[tuple[Mapping[str, Any], int]] = deque()

    @property
    def running(self) -> list[str]:
        """The targets at hand."""
        return [str(worker.job["target"]) for worker in self._workers if worker.job]

    def run(self, jobs: Sequence[Mapping[str, Any]]) -> Generator[dict[str, Any], None, None]:
        """Raises DinoportError where workers do not start. Left early, it ends what runs, and nothing of that stays."""
        self._waiting = deque((job, 1) for job in jobs)
        try:
            while self._waiting or any(worker.job for worker in self._workers):
                self._fill()
                self._admit()
                ready = wait([worker.connection for worker in self._workers])
                for worker in [each for each in self._workers if each.connection in ready]:
                    if (result := self._heard(worker)) is not None:
                        yield result
            for worker in self._workers:
                worker.end()
            self._workers = []
        except BaseException:
            self._stop()
            raise

    def _fill(self) -> None:
        while len(self._workers) < min(self._count, len(self._waiting) + len(self.running)):
            self._workers.append(Worker(self._threads, self._run))
        for worker in self._workers:
            if worker.is_ready and worker.job is None and self._waiting:
                with suppress(OSError):  # it died meanwhile, which is heard next
                    worker.begin(*self._waiting.popleft())

    def _admit(self) -> None:
        """Let jobs begin for which there is memory; the first is let in whatever it takes."""
        taken = sum(worker.needs for worker in self._workers if worker.job and worker.is_admitted)
        for worker in self._workers:
            if worker.job is None or worker.is_admitted or not worker.needs:
                continue
            if taken == 0 or taken + worker.needs <= self._memory_bytes:
                taken += worker.needs
                worker.admit()

    def _heard(self, worker: Worker) -> dict[str, Any] | None:
        """The result that a worker gives, if it gives one."""
        try:
            kind, said = worker.connection.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if kind == READY:
            worker.is_ready, self._died_starting = True, 0
        elif kind == NEEDS:
            worker.needs, worker.is_admitted = said, False
        else:
            result: dict[str, Any] = {**said, "tries": worker.tries}
            worker.job, worker.needs, worker.done = None, 0, worker.done + 1
            if worker.done >= JOBS_EACH:
                self._workers.remove(worker)
                worker.end()
            return result
        return None

    def _died(self, worker: Worker) -> dict[str, Any] | None:
        self._workers.remove(worker)
        job, ending = worker.job, worker.ending
        worker.kill()
        if not worker.is_ready:
            self._died_starting += 1
            if self._died_starting >= STARTS:
                raise _no_workers(ending)
        if job is None:
            return None
        take_back(Path(job["folder"]))
        if worker.tries < TRIES:
            self._waiting.append((job, worker.tries + 1))
            return None
        status = KILLED if "signal" in ending else CRASHED
        told = DinoportError(
            f"its worker died {worker.tries} times, of {ending}",
            cause="the memory of this machine is used up, or somebody ended it" if status == KILLED else None,
            next_step="run the fleet again with fewer jobs at once: `at_once=1`",
        )
        return without_result(job, status, "Killed", str(told), worker.tries)

    def _stop(self) -> None:
        """End all workers, within seconds, and take back what they had begun to write."""
        for worker in self._workers:
            worker.ask_to_stop()
        until = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.has_ended(until - time.monotonic())
            worker.kill()
            if worker.job is not None:
                take_back(Path(worker.job["folder"]))
        self._workers = []


def _no_workers(ending: str) -> DinoportError:
    """What an exception ends while a process starts has exit code 1: multiprocessing's own, or an import's."""
    raised = ending == "exit code 1"
    return DinoportError(
        f"the fleet's workers do not start: {STARTS} ended one after the other",
        found=ending,
        cause='a script that calls dinoport.fleet outside of `if __name__ == "__main__":`, or an import that fails'
        if raised
        else None,
        next_step="put the call there: each worker imports the script again"
        if raised
        else "look at this machine's free memory, and at what else ends processes",
    )
