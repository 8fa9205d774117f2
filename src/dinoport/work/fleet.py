"""`fleet`: many checkpoints, each converted and proven as if alone. One that fails does not stop the others."""

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from dinoport import __version__
from dinoport.errors import FolderError, InUseError, UsageError, printable
from dinoport.files.disk_errors import disk_errors
from dinoport.files.memory import free_bytes
from dinoport.report.fleet import Fleet, fleet_page
from dinoport.request import check_fits
from dinoport.shown.calls import AND_SO_ON, OUT, runnable
from dinoport.work.fleets.jobs import Job
from dinoport.work.fleets.one_job import EXACT_BYTES, FULL_BYTES, run_job, there_already
from dinoport.work.fleets.results import (
    DONE,
    ELSEWHERE,
    FAILED,
    FOUND,
    KILLED,
    PAGE,
    SKIPPED,
    THERE,
    append,
    last_of_each,
    without_result,
)
from dinoport.work.fleets.workers import Crew
from dinoport.writing.commit import publishing

POLL_SECONDS = 0.05
"""Between two looks at what an executor has done: not every engine's futures can be waited for."""

INDEX_TRIES = 50

Told = Callable[[Mapping[str, Any], int, int, Sequence[str]], None]

Carrier = Callable[[Sequence[Mapping[str, Any]]], Generator[dict[str, Any], None, None]]
"""Does jobs, and gives the results as they come."""


class Executor(Protocol):
    """Any engine: concurrent.futures', `Client.get_executor()` of Dask, submitit's."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any) -> Any: ...


def run_fleet(
    out: Path,
    jobs: Sequence[Job],
    *,
    executor: Executor | None = None,
    at_once: int | None = None,
    memory_bytes: int | None = None,
    recheck: bool = False,
    fail_fast: bool = False,
    on_result: Told | None = None,
) -> Fleet:
    """Do all jobs, and keep what became of each in `out`: a log that grows, and an index.

    `on_result` is called with each result, how many there are, of how many, and what is being done.
    """
    for name, value in (("at_once", at_once), ("memory_bytes", memory_bytes)):
        if value is not None:
            check_fits(name, value)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise UsageError(
            "`executor` takes an engine that has `submit`",
            found=f"a {type(executor).__name__}",
            next_step="concurrent.futures.ProcessPoolExecutor(), Client.get_executor() of Dask, or submitit's",
        )
    if out.is_file():
        raise FolderError(
            f"{out} is a file, and the first argument of fleet is OUT, the folder that it writes",
            expected="OUT, then every SOURCE",
            next_step=f"{runnable('fleet', [str(out), AND_SO_ON], OUT)}",
        )
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    before = {str(result["target"]): result for result in last_of_each(out, FOUND)}
    plain = [
        {**job.to_plain(out), "recheck": recheck, "version": __version__, "before": before.get(job.target, {})}
        for job in jobs
    ]
    begun, results = time.monotonic(), list[dict[str, Any]]()
    known = {job["target"]: there_already(job) for job in plain}
    left = [job for job in plain if known[job["target"]] is None]
    crew: Crew | None = None
    if executor is not None:
        carried: Carrier = partial(_carried, executor)
    else:
        memory_bytes = memory_bytes or free_bytes()
        level = "full" if any(job.level == "full" for job in jobs) else "exact"
        count = min(at_once or jobs_at_once(level, memory_bytes), max(len(left), 1))
        crew = Crew(count, memory_bytes, max(cores() // count, 1), run_job)
        carried = crew.run
    try:
        with closing(_twice(carried, left)) as incoming:
            for result in chain(filter(None, known.values()), incoming):
                results.append(result)
                append(out, result)
                if on_result is not None:
                    on_result(result, len(results), len(plain), crew.running if crew else [])
                if fail_fast and result["status"] in FAILED:
                    break
        ended = {result["target"] for result in results}
        skipped = [job for job in plain if job["target"] not in ended]
        for job in skipped:
            results.append(without_result(job, SKIPPED, "Skipped", "another job failed before"))
            append(out, results[-1])
    except BaseException:
        with suppress(FolderError):
            _write_index(out)
        raise
    _write_index(out)
    ordered = sorted(results, key=lambda result: str(result["target"]))
    return Fleet(str(out), tuple(ordered), round(time.monotonic() - begun, 3))


def _twice(carried: Carrier, jobs: Sequence[Mapping[str, Any]]) -> Generator[dict[str, Any], None, None]:
    """The results of jobs. What another fleet was writing is looked at again in the end: it may have been killed."""
    elsewhere = set()
    with closing(carried(jobs)) as results:
        for result in results:
            if result["status"] == ELSEWHERE:
                elsewhere.add(result["target"])
            else:
                yield result
    yield from carried([job for job in jobs if job["target"] in elsewhere])


def _write_index(out: Path) -> None:
    """What the log says by now. Another fleet that writes the same index is waited for: it may have read less."""
    for _ in range(INDEX_TRIES):
        with suppress(InUseError), publishing(out / PAGE, force=True, single_file=True) as workspace:
            found = [  # somebody may have removed a folder since it was done
                each
                for each in last_of_each(out)
                if each["status"] not in (DONE, THERE) or (out / each["target"]).exists()
            ]
            with disk_errors(out / PAGE):
                workspace.path.write_bytes(fleet_page(found, str(out)).encode(errors="replace"))
            return
        time.sleep(POLL_SECONDS)


def _carried(executor: Executor, jobs: Sequence[Mapping[str, Any]]) -> Generator[dict[str, Any], None, None]:
    """The results of jobs that an engine does, as they come. What it lost is said of that job alone."""
    waiting = [(job, _submitted(executor, job)) for job in jobs]
    try:
        while waiting:
            ready = [each for each in waiting if isinstance(each[1], BaseException) or each[1].done()]
            for each in ready:
                waiting.remove(each)
                yield _result(*each)
            if not ready:
                time.sleep(POLL_SECONDS)
    finally:
        for _, future in waiting:  # where the fleet is left early
            if not isinstance(future, BaseException):
                future.cancel()


def _submitted(executor: Executor, job: Mapping[str, Any]) -> Any:
    """The future of a job, or what an engine that takes no more of them raises."""
    try:
        return executor.submit(run_job, job)
    except Exception as error:
        return error


def _result(job: Mapping[str, Any], future: Any) -> dict[str, Any]:
    try:
        if isinstance(future, BaseException):
            raise future
        return dict(future.result())
    except Exception as error:  # each engine has errors of its own for a worker that died
        text = printable(str(error).strip().split("\n")[0]) or "its worker died"
        return without_result(job, KILLED, type(error).__name__, text)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_at_once(level: str, memory_bytes: int) -> int:
    """By cores, and by what the smallest job of this level takes."""
    each = FULL_BYTES if level == "full" else EXACT_BYTES
    return max(min(cores(), memory_bytes // each), 1)
