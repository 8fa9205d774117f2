"""What workers are given to do in tests: functions that other processes import by name."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dinoport.work.fleets.one_job import run_job

DEADLY = "deadly"


def dying(job: Mapping[str, Any], admit: Callable[[int], None]) -> Mapping[str, Any]:
    """Dies at every try of a deadly job, and at the first of one that is deadly once."""
    mark = Path(job["folder"]).with_name(f"{job['target']}.tried")
    if DEADLY in job["target"] and ("once" not in job["target"] or not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "exits" in job["target"]:
        os._exit(7)
    return run_job(job, admit)


def taking(job: Mapping[str, Any], admit: Callable[[int], None]) -> Mapping[str, Any]:
    """Takes the memory that its source is named after, and says when it had it."""
    admit(int(job["source"]))
    begun, threads = time.monotonic(), os.environ["OMP_NUM_THREADS"]
    time.sleep(0.1)
    return {"target": job["target"], "began": begun, "ended": time.monotonic(), "threads": threads}


def asking_twice(job: Mapping[str, Any], admit: Callable[[int], None]) -> Mapping[str, Any]:
    """As a job does whose folder another fleet makes meanwhile: it is proven instead."""
    admit(2)
    admit(1)
    return {"target": job["target"], "status": "there"}


def masked(job: Mapping[str, Any], admit: Callable[[int], None]) -> Mapping[str, Any]:
    """Says whether this worker was started without an ear for Ctrl-C."""
    return {"target": job["target"], "blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())}


def killing_its_worker(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """For engines that try a job again: dies the first time."""
    mark = Path(f"{job['folder']}.tried")
    if DEADLY in job["target"] and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_job(job)
