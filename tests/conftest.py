import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads

import pytest

from dinoport.formats.safetensors import writer
from dinoport.progress import ASIDE
from tests.command_line import Done, Run

for name, heard in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    number = getattr(signal, name, None)  # ignored in the background of a shell, and under nohup
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, heard)


HANDLERS = {
    number: signal.getsignal(number)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
}


@pytest.fixture(autouse=True)
def signals() -> None:
    """Hear signals, whatever ran before, even a module's fixture: the program ends deaf, and so are its children."""
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)


@pytest.fixture
def mounted(tmp_path) -> Iterator[Callable[[str], Path]]:
    """Mount a real file system of 1 MiB; skips where the tests may not mount."""
    folders: list[Path] = []

    def mount(options: str = "") -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join(["size=1m", *filter(None, [options])]), "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root on Linux")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        for _ in range(50):  # a thread that hashes a file lets go of it a moment later
            if not (done := subprocess.run(["umount", str(folder)], capture_output=True, check=False)).returncode:
                break
            time.sleep(0.1)
        done.check_returncode()


@pytest.fixture
def miswriting(monkeypatch) -> None:
    """Let the last value of each weight file be written wrong."""
    write = writer.write_safetensors

    def miswrite(path: Path, *arguments: object, **options: object) -> object:
        file = write(path, *arguments, **options)
        with path.open("r+b") as wrong:
            wrong.seek(-3, os.SEEK_END)
            wrong.write(b"\x01")
        return file

    monkeypatch.setattr(writer, "write_safetensors", miswrite)


def ended_threads() -> list[Thread]:
    """Wait for imports that go on aside: a program that ends in the middle of one ends its process at once."""
    for thread in enumerate_threads():
        if thread.name == ASIDE:
            thread.join()
    return []


@pytest.fixture
def run(monkeypatch, capfd) -> Run:
    """Run the program in this process, and put back the signals that it takes over."""
    from dinoport.cli import program as cli
    from dinoport.cli import session

    handlers = {number: signal.getsignal(number) for number in session.SIGNALS}
    monkeypatch.setattr(session, "running_threads", ended_threads)

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["dinoport", *map(str, arguments)])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as exit_:
                cli.main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Done(int(exit_.value.code or 0), *capfd.readouterr())

    return call
