"""What the terminal shows of the work: one line for the stage at hand, late, and on a terminal alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dinoport
from dinoport import api, progress
from dinoport.cli import console
from tests.command_line import DEMO

WORK = """
import sys, time
from dinoport.cli import console
console.SHOW_AFTER_SECONDS = {show_after}
with console.progress_bars({quiet}) as show:
    show("writing", 50_000_000, 140_000_000)
    time.sleep({seconds})
    show("comparing block", 3, 12)
    time.sleep({seconds})
print("rich.progress" in sys.modules)
"""


def shown_on_a_terminal(show_after: float, *, quiet: bool = False, seconds: float = 0.0) -> str:
    pty = pytest.importorskip("pty")  # not on Windows
    ours, theirs = pty.openpty()
    work = WORK.format(show_after=show_after, quiet=quiet, seconds=seconds)
    try:
        subprocess.run(
            [sys.executable, "-c", work],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            check=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        os.write(theirs, b"end")
        return os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_longer_work_shows_each_stage_with_its_figures_and_its_time() -> None:
    shown = shown_on_a_terminal(show_after=0, seconds=1.5)
    assert "writing" in shown
    assert "50.0/140.0 MB" in shown
    assert "comparing block" in shown
    assert "3 of 12" in shown
    assert "0:00:01" in shown, "the time goes on while nothing is told"
    assert shown.index("50.0/140.0 MB") < shown.index("3 of 12")
    assert "50.0/140.0 MB" not in shown[shown.index("3 of 12") :], "one line, for the stage at hand"


def test_shorter_work_shows_none() -> None:
    assert shown_on_a_terminal(show_after=3600) == "end"


def test_quiet_work_shows_none() -> None:
    assert shown_on_a_terminal(show_after=0, quiet=True, seconds=0.5) == "end"


def test_without_a_terminal_nothing_is_shown_and_nothing_imported_for_it() -> None:
    work = WORK.format(show_after=0, quiet=False, seconds=0)
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "False\n"


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_that_tells_nothing_for_long_shows_another_line_each_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bars draw themselves ten times a second; what they draw is another line whenever a second has passed."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(console, "SHOW_AFTER_SECONDS", 0)
    clock = Clock()
    line = console._Line(clock)
    line.tell(progress.IMPORTING, 0, 0)
    line._thread.join()  # which has shown the stage by then
    bars = line._bars
    assert bars is not None
    assert bars.live.auto_refresh
    assert bars.live.refresh_per_second >= 1
    for second in range(1, 31):
        clock.now = float(second)
        bars.refresh()
    line.end()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    seen = re.findall(r"importing torch.*?0:00:(\d\d)", shown)
    assert [*dict.fromkeys(seen)] == [f"{second:02}" for second in range(31)]


class ZMQInteractiveShell:
    """What a kernel of Jupyter gives for `get_ipython()`, by its name."""


@pytest.mark.parametrize("quiet", [False, True])
def test_in_a_notebook_progress_is_shown_unless_it_is_to_be_quiet(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SHOW_AFTER_SECONDS", 3600)
    with dinoport.progress_bars(quiet) as bars:
        assert bars is progress.silent, "not in a notebook"
    monkeypatch.setattr("builtins.get_ipython", ZMQInteractiveShell, raising=False)
    with dinoport.progress_bars(quiet) as bars:
        assert (bars is progress.silent) == quiet


def test_a_terminal_of_ipython_is_not_taken_for_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.get_ipython", object, raising=False)
    with dinoport.progress_bars() as bars:
        assert bars is progress.silent


FIRST_WORD_CPU_SECONDS = 1.0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("command", ["inspect {demo} --num-heads 2 --heads", "convert {demo} {out} --num-heads 2"])
def test_something_is_said_within_a_second_of_work(tmp_path: Path, command: str) -> None:
    """Of the processor's time: on a machine that does much else a second by the clock may be none of this program's."""
    pty = pytest.importorskip("pty")  # not on Windows
    words = command.format(demo=DEMO, out=tmp_path / "out").split()
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    program = subprocess.Popen(
        [sys.executable, "-m", "dinoport", *words], stdout=theirs, stderr=theirs, env=environment
    )
    try:
        os.read(ours, 1)
        ticks = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        assert sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") < FIRST_WORD_CPU_SECONDS
    finally:
        program.kill()
        program.wait()
        os.close(ours)
        os.close(theirs)


def test_drawing_tells_its_stages(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pil = pytest.importorskip("PIL.Image")
    api.convert(DEMO, tmp_path / "out", num_heads=2, level="exact")
    pil.new("RGB", (40, 30), (90, 30, 200)).save(tmp_path / "picture.png")
    told: list[str] = []
    api.visualize(
        tmp_path / "out",
        tmp_path / "picture.png",
        tmp_path / "drawn",
        size=32,
        on_progress=lambda stage, *now: told.append(stage),
    )
    assert told == [progress.READING, progress.IMPORTING, progress.LOADING, progress.RUNNING, progress.DRAWING]


def test_a_conversion_tells_its_stages_in_their_order(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    told: dict[str, list[tuple[int, int]]] = {}
    api.convert(
        DEMO, tmp_path / "out", num_heads=2, on_progress=lambda stage, *now: told.setdefault(stage, []).append(now)
    )
    stages = (progress.READING, progress.WRITING, progress.CHECKSUMS, progress.COMPARING, progress.IMPORTING)
    later = {progress.LOADING, progress.BLOCKS}  # the network's own pass begins while the class is loaded
    assert tuple(told)[:5] == stages
    assert set(tuple(told)[5:7]) == later
    assert tuple(told)[7:] == (progress.PIXELS,)
    assert told[progress.WRITING][-1] == (331_520, 331_520)
    assert told[progress.BLOCKS][:5] == [(block, 4) for block in range(5)]


STUCK = """
import _imp, time
from dinoport.cli.console import _Line

_imp.acquire_lock()  # as an import leaves it that Ctrl-C broke off
line = _Line()
time.sleep(1)
assert line._thread.is_alive()
began = time.monotonic()
line.end()
print(time.monotonic() - began < 5)
"""


def test_bars_that_wait_for_an_import_do_not_keep_the_end_waiting() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert done.stderr.endswith("\x1b[?25h"), "the cursor is back"
