"""A request to stop, wherever it falls: one line, nothing left, and less than a second of work after it.

The points are made, not chosen: Python tells an audit hook of each import, each file that is opened and much else. The
program stops itself at one of these events. The work after it is the processor's time, which no busy machine lengthens.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import DEMO, EXACT, FILES, HEADS, names

resource = pytest.importorskip("resource")  # not on Windows

PROGRAM = """
import atexit, json, os, signal, sys, time
number, at, told, *sys.argv[1:] = sys.argv[1:]
events = 0
def tell():
    open(told, "w").write(json.dumps([events, time.process_time()]))
def hear(event, arguments):
    global events
    events += 1
    if events == int(at):
        tell()
        os.kill(os.getpid(), int(number))
from dinoport.__main__ import main
if not int(at):
    atexit.register(tell)
sys.addaudithook(hear)
main()
"""

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

POINTS = 24
"""Of a conversion with the exact proof, spread over all of its events."""

POINTS_OF_TORCH = 3
"""Of one with the full proof, most of whose events are imports of torch and Transformers."""


class Ended:
    """How a program ended that was stopped at its event `at`, or never (0)."""

    def __init__(self, folder: Path, number: int, at: int, *options: str) -> None:
        folder.mkdir()
        told, self.folder = folder.parent / f"{folder.name}.json", folder
        arguments = (str(int(number)), str(at), str(told), "convert", str(DEMO), str(folder / "out"), *HEADS, *options)
        before = _cpu_seconds()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.events, until_then = json.loads(told.read_text())
        self.seconds_after = _cpu_seconds() - before - until_then


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(used.ru_utime + used.ru_stime)


def check_stopped(ended: Ended) -> None:
    """Either it said that no folder was written, and none is there; or that the folder is whole, and it is."""
    left = names(ended.folder)
    if (ended.code, ended.err) == (0, ""):  # it was done, and ended
        assert ended.out.startswith("verdict ")
        assert left == {"out"}
        return
    assert ended.code == 130, ended.err
    assert ended.seconds_after < 1
    published = f"interrupted: {ended.folder / 'out'} was written before, and is whole\n"
    if left:
        assert (left, ended.err) == ({"out"}, published)
        assert names(ended.folder / "out") == FILES
    else:
        assert ended.err in ("interrupted\n", "interrupted: no folder was written\n")
        assert ended.out == ""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> int:
    ended = Ended(tmp_path_factory.mktemp("whole") / "run", signal.SIGINT, 0, *EXACT)
    assert (ended.code, names(ended.folder / "out")) == (0, FILES)
    assert ended.events > 500
    return ended.events


@pytest.mark.parametrize("point", range(POINTS))
def test_an_exact_conversion_stops_at_every_point(tmp_path: Path, events: int, point: int) -> None:
    at = 1 + events * point // POINTS
    check_stopped(Ended(tmp_path / "run", SIGNALS[point % len(SIGNALS)], at, *EXACT))


@pytest.mark.parametrize("point", range(POINTS_OF_TORCH))
def test_a_full_conversion_stops_at_every_point(tmp_path: Path, events: int, point: int) -> None:
    pytest.importorskip("transformers")
    at = events + 3000 * (point + 1)
    check_stopped(Ended(tmp_path / "run", SIGNALS[point % len(SIGNALS)], at))
