"""What happens to a conversion when the machine fails it: one message, exit code 1, and nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dinoport import api
from dinoport.errors import CheckpointError, DinoportError, FolderError
from tests import fault_points, tiny
from tests.fault_points import Countdown, contents, contents_of_old, interposed, make_old, run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def source(tmp_path) -> Path:
    return tiny.write(tmp_path / "checkpoint.pth")


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "out"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_a_conversion_killed_at_any_point_leaves_nothing_half_done(tmp_path, force: bool) -> None:
    command = [sys.executable, "-m", "tests.fault_points", str(tmp_path), *(["force"] * force)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    points = json.loads(done.stdout)
    assert len(points) >= 50
    assert all(point["killed"] for point in points)
    assert all(point["again"] and point["beside"] == ["out"] for point in points), "a rerun succeeds and cleans up"
    left = Counter(point["left"] for point in points)
    assert left["part"] == 0
    if force:
        assert left["old"] > 40
        assert all(point["old is aside"] for point in points if point["left"] == "nothing")
    else:
        assert left["old"] == 0
        assert left["nothing"] > 40
    assert left["whole"] > 0, "points after the folder was published were tried too"


WRITES = {"write", "fsync", "mkdir", "rename", "replace", "posix_fallocate", "write_bytes", "write_bytes, half"}


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_write_that_the_disk_refuses_at_any_point_is_one_message(tmp_path, source, target, code, force) -> None:
    seen: Counter[str] = Counter()

    def refuse(name: str) -> None:
        if name in WRITES:
            seen[name] += 1
            raise OSError(code, os.strerror(code))

    if force:
        make_old(target)
    points = fault_points.count_points(source, target, force=force)
    whole = contents(target)
    fault_points.remove(target)
    for point in range(points):
        if force:
            make_old(target)
        with interposed(Countdown(point, refuse)):
            error = error_of(lambda: run(source, target, force=force))
        if error is None:  # a read, a folder that was there already, or the one replaced that is being deleted
            assert contents(target) == whole
            run(source, target, force=True)
            assert names(target.parent) == ["out"]
        else:
            assert isinstance(error, FolderError)
            assert error.exit_code == 1
            assert os.strerror(code)[1:] in error.what
            assert error.next_step
            assert names(target.parent) == (["out"] if force else [])
            assert not force or contents(target) == contents_of_old()
        if target.exists():
            fault_points.remove(target)
    assert seen.keys() == WRITES - (set() if force else {"rename"})
    assert seen.total() >= 40


def error_of(do: Callable[[], None]) -> DinoportError | None:
    try:
        do()
    except DinoportError as error:
        return error
    return None


@pytest.mark.parametrize("free_kb", [0, 4, 8, 12, 16, 20, 24])
def test_a_real_disk_that_is_full(mounted: Callable[[str], Path], source: Path, free_kb: int) -> None:
    """From no room at all to room for all but the last file: 4 kB are one block of this disk."""
    disk = mounted("")
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(disk).free - free_kb * 1024)
    with pytest.raises(FolderError, match="no space left on device") as caught:
        run(source, disk / "out", force=False)
    assert caught.value.cause == "the disk is full"
    assert names(disk) == ["ballast"]


def test_another_disk_than_the_source_s(mounted: Callable[[str], Path], source: Path) -> None:
    disk = mounted("")
    assert disk.stat().st_dev != source.stat().st_dev
    run(source, disk / "out", force=False)
    run(source, disk / "out", force=True)
    assert names(disk) == ["out"]


def read_error(monkeypatch, at: int, code: int = errno.EIO) -> None:
    def refuse(name: str) -> None:
        raise OSError(code, os.strerror(code))

    countdown, preadv = Countdown(at, refuse), os.preadv

    def failing(*arguments):
        countdown("preadv")
        return preadv(*arguments)

    monkeypatch.setattr(os, "preadv", failing)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="reads with preadv")
def test_a_read_error_at_any_point_is_one_message(source: Path, target: Path, monkeypatch) -> None:
    reads = Countdown(-1, lambda name: None)
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *arguments: (reads("preadv"), preadv(*arguments))[1])
    run(source, target, force=False)
    fault_points.remove(target)
    assert reads.count > 60
    for point in range(reads.count):
        monkeypatch.setattr(os, "preadv", preadv)
        read_error(monkeypatch, point)
        with pytest.raises(CheckpointError, match="cannot be read: Input/output error"):
            run(source, target, force=False)
        assert names(target.parent) == []


def once(do: Callable[[], None]) -> Callable[[str, int, int], None]:
    """A progress callback that does something when the first bytes have moved."""
    left = [do]

    def on_progress(stage: str, done: int, total: int) -> None:
        if left and done:
            left.pop()()

    return on_progress


def convert_meanwhile(source: Path, target: Path, do: Callable[[], None]) -> None:
    api.convert(source, target, tiny.REQUEST, level="exact", on_progress=once(do))


def test_a_source_that_shrinks_meanwhile(source: Path, target: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ends too early|changed while it was read"):
        convert_meanwhile(source, target, lambda: os.truncate(source, 3000))
    assert names(target.parent) == []


def test_a_source_that_grows_meanwhile(source: Path, target: Path) -> None:
    def grow() -> None:
        with source.open("ab") as file:
            file.write(b"more")

    with pytest.raises(CheckpointError, match="changed while it was read") as caught:
        convert_meanwhile(source, target, grow)
    assert caught.value.cause == "a training run or a download is still writing it"
    assert names(target.parent) == []


def test_a_source_that_is_written_over_meanwhile(source: Path, target: Path) -> None:
    def overwrite() -> None:
        content = source.read_bytes()
        status = source.stat()
        at = content.index(b"head.mlp.0.weight")
        with source.open("r+b") as file:  # cut to nothing first, it would be found too short by who reads just then
            file.seek(at)
            file.write(b"head.mlp.1.weight")
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    with pytest.raises(CheckpointError, match="changed while it was read"):
        convert_meanwhile(source, target, overwrite)
    assert names(target.parent) == []


def test_a_source_that_is_replaced_by_another_file_is_converted_as_it_was_opened(source, target) -> None:
    whole = source.read_bytes()

    def replace() -> None:
        other = source.with_name("other")
        other.write_bytes(bytes(len(whole)))
        other.replace(source)

    convert_meanwhile(source, target, replace)
    source.write_bytes(whole)
    assert not api.verify(source, target, level="exact").verdict.failed


@pytest.mark.parametrize("what", ["source", "folder"])
def test_a_folder_that_changes_while_it_is_verified(source: Path, target: Path, what: str) -> None:
    run(source, target, force=False)
    changed = source if what == "source" else target / "model.safetensors"

    def touch() -> None:
        status = changed.stat()
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    with pytest.raises(CheckpointError) as caught:
        api.verify(source, target, level="exact", on_progress=once(touch))
    place = source if what == "source" else target
    assert str(caught.value).startswith(
        f"the {what} changed while it was verified: {place}\n  where: {changed} changed while it was read\n"
    )


RACE = """
import sys
from pathlib import Path
from dinoport.errors import DinoportError
from tests.fault_points import run
sys.stdin.readline()
try:
    run(Path(sys.argv[1]), Path(sys.argv[2]), force=sys.argv[3] == "force")
except DinoportError as error:
    print(error.what)
else:
    print("done")
"""


@pytest.mark.parametrize("force", ["new", "force"])
def test_of_conversions_to_one_folder_at_once_each_wins_whole_or_is_told(source, target, force: str) -> None:
    command = [sys.executable, "-c", RACE, str(source), str(target), force]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for _ in range(2):
        programs = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("go\n")
            program.stdin.flush()
        said = sorted(program.communicate()[0].strip() for program in programs)
        told = {f"another run is writing {target}", f"{target} exists"}
        assert "done" in said
        assert set(said) <= {"done", *told}
        assert force == "force" or said.count("done") == 1
        assert names(target.parent) == ["out"]
        assert not api.verify(source, target, level="exact").verdict.failed
        fault_points.remove(target)
