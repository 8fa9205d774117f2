"""The hostile files of tests/fixtures, unpacked once, and the process that converts them under an audit hook."""

import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hostile"
MESSAGES = Path(__file__).parent / "messages.txt"
GOLDEN = "golden.npz"
SOUND = "ok_zip.pth"

HEADS = ("--num-heads", "2")
"""What no file says and none of this width lets assume."""


@dataclass(frozen=True)
class Entry:
    name: str
    expected: str
    what: str
    golden: bool


ENTRIES = tuple(Entry(**entry) for entry in json.loads((FIXTURES / "entries.json").read_text()))


def entry_named(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


_FOLDER = tempfile.TemporaryDirectory(prefix="dinoport-hostile-")


@cache
def unpacked() -> Path:
    """The folder with all of them; it goes when the process ends."""
    with tarfile.open(FIXTURES / "files.tar.xz") as archive:
        archive.extractall(_FOLDER.name, filter="data")
    return Path(_FOLDER.name)


@cache
def picture() -> Path:
    """A sound picture: one red pixel, as PPM."""
    path = Path(_FOLDER.name, "picture.ppm")
    path.write_bytes(b"P6 1 1 255 \xff\0\0")
    return path


@dataclass(frozen=True)
class Outcome:
    """What came of a command that may write into `folder`; `left` is what is in it now."""

    folder: Path
    left: list[str]
    exit_code: int
    stdout: str
    stderr: str
    violations: list[str]
    seconds: float
    peak_bytes: int


class Guard:
    """guard.py as a process of its own, which imports no torch."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).parent / "guard.py"), str(unpacked() / SOUND), str(picture())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def convert(self, source: Path, folder: Path, *options: str) -> Outcome:
        """Convert `source` into `out` below the new folder `folder`; the paths are left out of what it says."""
        argv = ["convert", str(source), str(folder / "out"), "--verify", "exact", *HEADS, *options]
        return self.run(argv, source, folder)

    def run(self, argv: list[str], source: Path, folder: Path, *readable: Path) -> Outcome:
        """Run a command that may write below the new folder `folder`, and read `source` and `readable`."""
        folder.mkdir()
        wish = {"argv": argv, "readable": list(map(str, (source, *readable))), "writable": [str(folder)]}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(wish), file=self._process.stdin, flush=True)
        found = json.loads(self._process.stdout.readline())
        for stream in ("stdout", "stderr"):
            found[stream] = found[stream].replace(f"{source.parent}/", "").replace(f"{folder}/", "")
        return Outcome(folder=folder, left=sorted(path.name for path in folder.iterdir()), **found)

    def close(self) -> None:
        self._process.communicate()


def messages(text: str) -> dict[str, str]:
    """What messages.txt says, by file."""
    parts = [part.partition("\n") for part in text.split("=== ")[1:]]
    return {name: message.removesuffix("\n") for name, _, message in parts}
