import errno
import os
import signal
from pathlib import Path

import pytest

from dinoport.errors import FolderError
from dinoport.writing.commit import write_whole
from tests.fault_points import Countdown, interposed

OLD = {"a.json": b"old a", "b.png": b"old b"}
NEW = {"a.json": b"a new one, and longer", "b.png": b"another new one", "c.png": b"a third"}


def write(folder: Path, files: dict[str, bytes]) -> None:
    write_whole({folder / name: content for name, content in files.items()})


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def points(folder: Path) -> int:
    counter = Countdown(-1, lambda name: None)
    with interposed(counter):
        write(folder, NEW)
    return counter.count


def test_it_writes_over_what_is_there_and_leaves_other_files(tmp_path):
    write(tmp_path, {**OLD, "mine.txt": b"mine"})
    write(tmp_path, NEW)
    assert held(tmp_path) == {**NEW, "mine.txt": b"mine"}


def test_a_folder_that_is_missing_is_made_and_taken_back(tmp_path, monkeypatch):
    write(tmp_path / "made" / "twice", NEW)
    assert held(tmp_path / "made" / "twice") == NEW

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FolderError, match="no space left on device"):
        write(tmp_path / "other" / "folder", NEW)
    assert not (tmp_path / "other").exists()


def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path):
    for point in range(points(tmp_path / "counted")):
        folder = tmp_path / str(point)
        write(folder, OLD)

        def refuse(name: str) -> None:
            if name.startswith("write"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        refused = False
        with interposed(Countdown(point, refuse)):
            try:
                write(folder, NEW)
            except FolderError:
                refused = True
        assert held(folder) == (OLD if refused else NEW)
        assert len(list(folder.iterdir())) == len(held(folder))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_any_point_each_file_is_whole_and_the_next_run_cleans_up(tmp_path):
    seen = set()
    for point in range(points(tmp_path / "counted")):
        folder = tmp_path / str(point)
        write(folder, OLD)
        child = os.fork()
        if not child:
            with interposed(Countdown(point, lambda name: os.kill(os.getpid(), signal.SIGKILL))):
                write(folder, NEW)
            os._exit(0)
        os.waitpid(child, 0)
        for name, content in NEW.items():
            found = (folder / name).read_bytes() if (folder / name).exists() else None
            assert found in (OLD.get(name), content)
            seen.add(found == content)
        write(folder, NEW)
        assert sorted(path.name for path in folder.iterdir()) == sorted(NEW)
    assert seen == {True, False}


def test_what_has_no_name_to_replace_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write(tmp_path, {"pipe": b"a report"})
    assert os.read(reader, 100) == b"a report"
    os.close(reader)


def test_a_link_keeps_leading_to_the_file(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.json").write_bytes(b"old")
    (tmp_path / "report.json").symlink_to("elsewhere/real.json")
    write(tmp_path, {"report.json": b"new"})
    assert (tmp_path / "report.json").is_symlink()
    assert held(tmp_path / "elsewhere") == {"real.json": b"new"}
