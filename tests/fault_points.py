"""Every moment of a conversion at which the disk is asked for something, as a place where a test can let it fail.

`python -m tests.fault_points FOLDER [force]` kills a conversion outright at one point after the other, and prints as
JSON what each left behind, and what the next run made of it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from dinoport.api import convert
from tests import tiny

OLD = b'{"model_type": "vit", "architectures": ["ViTModel"]}'
"""What is replaced."""

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "posix_fallocate")
"""Of the module os, in which pathlib, shutil and this project's own code all end."""


@contextmanager
def interposed(at_call: Callable[[str], None]) -> Iterator[None]:
    """Call `at_call` with a name before each of CALLS, and twice for a whole file: before it and in its middle."""

    def before(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            at_call(name)
            return call(*arguments, **options)

        return called

    def write_bytes(path: Path, content: bytes) -> None:
        at_call("write_bytes")
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            at_call("write_bytes, half")
            file.write(content[len(content) // 2 :])

    patches = [mock.patch.object(os, name, before(name, getattr(os, name))) for name in CALLS if hasattr(os, name)]
    patches.append(mock.patch.object(Path, "write_bytes", write_bytes))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


class Countdown:
    """Counts calls, and does something at the one of the given number."""

    def __init__(self, at: int, do: Callable[[str], None]) -> None:
        self.count, self._at, self._do = 0, at, do

    def __call__(self, name: str) -> None:
        self.count += 1
        if self.count - 1 == self._at:
            self._do(name)


def run(source: Path, target: Path, *, force: bool) -> None:
    convert(source, target, tiny.REQUEST, level="exact", force=force)


def count_points(source: Path, target: Path, *, force: bool) -> int:
    counter = Countdown(-1, lambda name: None)
    with interposed(counter):
        run(source, target, force=force)
    return counter.count


def make_old(target: Path) -> None:
    target.mkdir()
    (target / "config.json").write_bytes(OLD)


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder by its path, as the hexadecimal digits of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes().hex() for path in files}


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def killed_at_every_point(root: Path, *, force: bool) -> Iterator[dict[str, object]]:
    source, target = tiny.write(root / "checkpoint.pth"), root / "there" / "out"
    target.parent.mkdir()
    if force:
        make_old(target)
    points = count_points(source, target, force=force)
    whole = contents(target)
    remove(target)
    for point in range(points):
        if force:
            make_old(target)
        child = os.fork()
        if not child:
            with interposed(Countdown(point, lambda name: os.kill(os.getpid(), signal.SIGKILL))):
                run(source, target, force=force)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        left = contents(target) if target.exists() else None
        aside = root / "there" / ".out.dinoport-old"
        yield {
            "killed": os.WIFSIGNALED(status),
            "left": "nothing"
            if left is None
            else "whole"
            if left == whole
            else "old"
            if left == contents_of_old()
            else "part",
            "old is aside": contents(aside) == contents_of_old() if aside.exists() else False,
            **rerun(source, target, whole),
        }


def told(left: dict[str, str] | None, whole: dict[str, str]) -> str:
    """What stands under the target's name, in a word."""
    if left is None:
        return "nothing"
    return "whole" if left == whole else "old" if left == contents_of_old() else "part"


def contents_of_old() -> dict[str, str]:
    return {"config.json": OLD.hex()}


def rerun(source: Path, target: Path, whole: dict[str, str]) -> dict[str, object]:
    run(source, target, force=True)
    found = {"again": contents(target) == whole, "beside": sorted(path.name for path in target.parent.iterdir())}
    remove(target)
    return found


if __name__ == "__main__":
    print(json.dumps(list(killed_at_every_point(Path(sys.argv[1]), force="force" in sys.argv[2:]))))
