"""The end of a run: errors, signals, and a stdout that cannot be written or that nobody reads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dinoport import api
from tests.command_line import DEMO, EXACT, FILES, HEADS, Run, names


def test_what_no_one_foresaw_is_a_message_too(run: Run, monkeypatch) -> None:
    def fail(*arguments, **options):
        raise KeyError("shape")

    monkeypatch.setattr(api, "inspect", fail)
    done = run("inspect", DEMO)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: dinoport met what it did not expect: KeyError: 'shape'\n"
        f"  where: test_session.py, line {fail.__code__.co_firstlineno + 1}\n"
        "  likely cause: a mistake in dinoport, or a damaged installation\n"
        "  try: report it with this message and the command\n"
    )


def test_memory_that_is_used_up_is_a_message(run: Run, monkeypatch) -> None:
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(api, "inspect", fail)
    assert run("inspect", DEMO).err == (
        "error: the memory of this machine is used up\n  try: --verify exact, which needs the least\n"
    )


def test_a_path_that_the_system_refuses_is_a_message(run: Run, tmp_path) -> None:
    target = tmp_path / ("a" * 300)
    done = run("convert", DEMO, target, *HEADS, *EXACT)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: {target} cannot be used: file name too long\n  try: ls -ld {target}\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that somebody is in")
@pytest.mark.parametrize(
    "arguments", [("convert", str(DEMO), "out"), ("inspect", "x.pth"), ("demo",), ("fleet", "OUT", str(DEMO))]
)
def test_a_current_folder_that_was_deleted_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    given = [each.replace("OUT", str(tmp_path / "out")) for each in arguments]
    words = ["sh", "-c", script, "sh", str(place), sys.executable, "-m", "dinoport", *given]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.split("\n")[0]) == (1, "error: the current folder was deleted")


@pytest.mark.skipif(os.name == "nt", reason="of a POSIX shell")
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("command", ["inspect", "fleet", "convert"])
def test_no_work_ends_for_a_stderr_that_takes_nothing(tmp_path: Path, stderr: str, command: str) -> None:
    """Not even that of a fleet, which says on stderr how far it is."""
    written = [] if command == "inspect" else [str(tmp_path / "out")]
    given = [*written, str(DEMO)] if command == "fleet" else [str(DEMO), *written]
    words = [sys.executable, "-m", "dinoport", command, *given, *HEADS, *(EXACT if written else ())]
    done = subprocess.run(["sh", "-c", f'"$@" {stderr}', "sh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout


def test_a_terminal_without_arrows_is_served(tmp_path) -> None:
    command = [sys.executable, "-m", "dinoport", "inspect", str(DEMO), *HEADS]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"becomes     DINO ViT (facebookresearch/dino) ? ViTModel" in done.stdout
    done = subprocess.run([*command, "--json"], capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout.decode("ascii"))["source"] == str(DEMO)


@pytest.mark.parametrize(
    "arguments", [("inspect", str(DEMO), *HEADS, "--json"), ("models",), ("--help",), ("inspect", "nothing", "--json")]
)
def test_a_reader_that_stops_listening_is_no_error(tmp_path, arguments: tuple[str, ...]) -> None:
    """As `head` does: its program ends as one does that SIGPIPE ended, and says nothing."""
    program = subprocess.Popen(
        [sys.executable, "-m", "dinoport", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    said = program.stderr.read()
    program.stderr.close()
    failed = arguments[1:2] == ("nothing",)
    assert said.startswith(b"error: ") if failed else said == b""
    assert program.wait() == (1 if failed else 141)


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("models",), ("--help",), ("--version",), ("inspect", str(DEMO), "--json")])
def test_an_output_that_cannot_be_written_is_one_message(tmp_path, arguments: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dinoport", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: the output cannot be written: no space left on device\n"
        "  where: stdout\n  try: send the output elsewhere\n",
    )


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_folder_whose_report_cannot_be_printed_is_said_to_be_there(tmp_path) -> None:
    command = [sys.executable, "-m", "dinoport", "convert", str(DEMO), str(tmp_path / "out"), *HEADS, *EXACT]
    with FULL.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert f"no space left on device; {tmp_path / 'out'} was written before, and is whole\n" in done.stderr
    assert names(tmp_path / "out") == FILES


SLOW = """
import sys, time
from dinoport.cli import program as cli
from dinoport.formats import stream

def slow(block):
    print("writing", flush=True)
    time.sleep(600)

stream.take_census = slow
sys.argv = ["dinoport", *sys.argv[1:]]
cli.main()
"""


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("force", [False, True])
def test_ctrl_c_leaves_nothing(tmp_path, number: signal.Signals, force: bool) -> None:
    out = tmp_path / "out"
    if force:
        out.mkdir()
    command = [sys.executable, "-c", SLOW, "convert", str(DEMO), str(out), *HEADS, *EXACT, *(["--force"] * force)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "writing\n"
    begun = time.monotonic()
    program.send_signal(number)
    program.send_signal(number)  # the impatient press twice
    _, errors = program.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert program.returncode == 130
    assert errors == "interrupted: no folder was written\n"
    assert names(tmp_path) == ({"out"} if force else set())
    assert not force or names(out) == set()


SLOW_TORCH = """
import time
print("importing", flush=True)
{work}
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("work", ["time.sleep(600)", "while True: pass"], ids=["waits", "works"])
def test_an_interruption_does_not_wait_for_torch(tmp_path: Path, number: signal.Signals, work: str) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "lib" / "torch").mkdir(parents=True)
    (tmp_path / "lib" / "torch" / "__init__.py").write_text(SLOW_TORCH.format(work=work))
    paths = [str(tmp_path / "lib"), os.environ.get("PYTHONPATH", "")]
    program = subprocess.Popen(
        [sys.executable, "-m", "dinoport", "convert", str(DEMO), str(tmp_path / "out"), *HEADS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "importing\n"
    begun = time.monotonic()
    program.send_signal(number)
    _, errors = program.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert (program.returncode, errors) == (130, "interrupted: no folder was written\n")
    assert names(tmp_path) == {"lib"}


EARLY = """
import builtins, os, signal
imported = builtins.__import__
def importing(name, *others):
    if name == "{name}" or name == "dinoport.{name}":
        os.kill(os.getpid(), signal.SIGINT)
    return imported(name, *others)
builtins.__import__ = importing
import sys
sys.argv = ["dinoport", "inspect", "{source}"]
from dinoport.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["cli.program", "cli.commands", "argparse", "cli.session", "numpy", "finding.sources"])
def test_an_interruption_of_the_start_is_one_line(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY.format(name=name, source=DEMO)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_nohup_is_heard() -> None:
    ignoring = "import signal, runpy, os; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    ignoring += "import dinoport.cli.program as p; p.dispatch = lambda words: os.kill(os.getpid(), signal.SIGHUP); "
    done = subprocess.run([sys.executable, "-c", ignoring + "p.main()"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


IMPORTING = """
import sys
from dinoport.cli import program as cli
from dinoport.cli import session

def command():
    import swallows
    print("imported", flush=True)
    import time
    time.sleep(600)

session.run(command)
"""

SWALLOWS = """
import os, signal, time
print("importing", flush=True)
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.1)
except BaseException:
    raise ImportError("as native code does that imports")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_waits_for_the_end_of_an_import(tmp_path, name: str) -> None:
    """NumPy's native code prints an exception that is raised in what it imports, and makes an ImportError of it."""
    (tmp_path / "swallows.py").write_text(SWALLOWS.format(name=name))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", IMPORTING]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout.startswith("importing\n")


def test_what_was_made_of_an_interruption_is_one(run: Run, monkeypatch) -> None:
    def fail(*arguments, **options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            raise ValueError("something else") from None

    monkeypatch.setattr(api, "inspect", fail)
    done = run("inspect", DEMO)
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")


def test_an_interruption_after_publishing_says_so(run: Run, tmp_path, monkeypatch) -> None:
    convert = api.convert

    def interrupted(*arguments, **options):
        convert(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(api, "convert", interrupted)
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    assert (done.code, done.err) == (130, f"interrupted: {tmp_path / 'out'} was written before, and is whole\n")
    assert names(tmp_path / "out") == FILES


def test_an_interruption_while_the_report_is_printed_says_so(run: Run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("dinoport.cli.console.print_report", lambda *given: os.kill(os.getpid(), signal.SIGINT))
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    assert (done.code, done.err) == (130, f"interrupted: {tmp_path / 'out'} was written before, and is whole\n")


def test_with_json_an_interruption_is_an_object_too(run: Run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(api, "convert", lambda *arguments, **options: os.kill(os.getpid(), signal.SIGTERM))
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT, "--json")
    assert (done.code, done.err) == (130, "interrupted: no folder was written\n")
    assert json.loads(done.out)["error"]["what"] == "interrupted: no folder was written"
    assert json.loads(done.out)["exit_code"] == 130


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
def test_a_place_that_takes_no_files_is_not_called_busy(run: Run) -> None:
    done = run("convert", DEMO, "/proc/out", *HEADS, *EXACT)
    assert (done.code, done.err) == (
        1,
        "error: out cannot be written: no such file or directory\n  where: /proc/out\n"
        "  likely cause: this is not a file system that keeps files\n  try: choose another folder\n",
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--num-heads", "a whole number of heads from 1 to 1024"),
        ("--layer-norm-eps", "a small positive number from 1e-12 to 0.1"),
    ],
)
def test_a_value_that_is_no_number_is_refused_shortly(run: Run, option: str, said: str) -> None:
    done = run("inspect", DEMO, option, "many")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {option} takes {said}\n  found: 'many'\n"


LOST = """
import os, signal, time, weakref
from dinoport.cli.session import run

class Thing: pass

def command():
    thing = Thing()
    kept = weakref.ref(thing, lambda gone: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.01)))
    del thing  # what a callback raises is printed by Python, and goes no further
    for _ in range(1000):
        time.sleep(0.02)

run(command)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="asks again by a timer")
def test_a_request_that_python_throws_away_is_asked_again() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
