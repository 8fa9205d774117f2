from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORK = """
import sys
from dinoport.cli import console
console.SHOW_AFTER_SECONDS = {show_after}
with console.progress_bars() as show:
    show("writing", 50_000_000, 140_000_000)
    print("rich.progress" in sys.modules)
"""


def shown_on_a_terminal(show_after: float) -> str:
    pty = pytest.importorskip("pty")  # not on Windows
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", WORK.format(show_after=show_after)],
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


def test_work_of_more_than_a_second_shows_a_bar_on_a_terminal() -> None:
    shown = shown_on_a_terminal(show_after=0)
    assert "writing" in shown
    assert "50.0/140.0 MB" in shown


def test_shorter_work_shows_none() -> None:
    assert shown_on_a_terminal(show_after=3600) == "end"


def test_without_a_terminal_nothing_is_shown_and_nothing_imported_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", WORK.format(show_after=0)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "False\n"
