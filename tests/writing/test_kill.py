"""Runs that are killed outright. The child stops where the test wants it to, and says so; the parent kills it."""

import subprocess
import sys
from pathlib import Path

import pytest

from dinoport.errors import FolderError
from dinoport.writing.commit import publishing
from tests.writing.of_a_model import read, write

CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from tests.writing.stub_tensors import Stub, tensor
from tests.writing.of_a_model import read, write
from dinoport.writing.commit import publishing
from dinoport.formats.torch.writer import write_torch_file
from dinoport.formats.safetensors.writer import write_safetensors

def stop(*_):
    print("stopped", flush=True)
    time.sleep(600)

def blocks():
    yield np.zeros(2**16, np.float32)
    stop()

target, point, force = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "force"
slow = Stub("a", np.float32, (2**17,), blocks)
with publishing(target, force=force, single_file=point == "torch file", merge=point == "merging") as workspace:
    if point == "torch file":
        write_torch_file(workspace.path, [slow])
    write(workspace.path / "config.json", "new")
    if point == "weights":
        write_safetensors(workspace.path / "model.safetensors", [slow])
    write_safetensors(workspace.path / "model.safetensors", [tensor("a", np.ones(9))])
    if point == "written":
        stop()
    if point == "merging":
        moved = Path.replace
        Path.replace = lambda path, to: stop() if path.name == "config.json" else moved(path, to)
    if point == "between renames":
        Path.replace = stop
    if point == "before the old is deleted":
        import shutil
        shutil.rmtree = lambda path, **_: stop() if Path(path).exists() else None
"""


@pytest.fixture
def stopped_run():
    children: list[subprocess.Popen[str]] = []

    def start(target: Path, point: str, force: bool = False) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(target), point, "force" if force else ""]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "stopped\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("point", ["weights", "written", "torch file"])
def test_the_name_stays_free_and_the_next_run_cleans_up(tmp_path, stopped_run, point):
    kill(stopped_run(tmp_path / "out", point))
    assert names(tmp_path) == {".out.dinoport-lock", ".out.dinoport-new"}
    with publishing(tmp_path / "out") as workspace:
        assert names(workspace.path) == set()
        write(workspace.path / "config.json", "whole")
    assert names(tmp_path) == {"out"}
    assert names(tmp_path / "out") == {"config.json"}


@pytest.mark.parametrize("point", ["weights", "written"])
def test_the_old_folder_stays_untouched(tmp_path, stopped_run, point):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out" / "config.json", "old")
    kill(stopped_run(tmp_path / "out", point, force=True))
    assert names(tmp_path / "out") == {"config.json"}
    assert read(tmp_path / "out" / "config.json") == "old"


@pytest.mark.parametrize(("moment", "left", "stays", "files"), [
    ("between renames", {".out.dinoport-new", ".out.dinoport-old"}, "old", {"config.json"}),
    ("before the old is deleted", {".out.dinoport-discarded", "out"}, "new", {"config.json", "model.safetensors"}),
])  # fmt: skip
def test_killed_at_a_rename_the_old_folder_or_the_new_one_is_whole(tmp_path, stopped_run, moment, left, stays, files):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out" / "config.json", "old")
    kill(stopped_run(tmp_path / "out", moment, force=True))
    assert names(tmp_path) == {".out.dinoport-lock", *left}
    with pytest.raises(FolderError, match="exists"), publishing(tmp_path / "out"):
        pytest.fail("the block must not be entered")
    assert names(tmp_path) == {"out"}
    assert read(tmp_path / "out" / "config.json") == stays
    assert names(tmp_path / "out") == files


def test_a_merge_cut_short_does_not_load_and_the_next_run_does_it_again(tmp_path, stopped_run):
    (tmp_path / "out").mkdir()
    for name in ("config.json", "model.safetensors", "notes.txt"):
        write(tmp_path / "out" / name, "old")
    kill(stopped_run(tmp_path / "out", "merging"))
    assert names(tmp_path / "out") == {"model.safetensors", "notes.txt"}
    with publishing(tmp_path / "out", merge=True) as workspace:
        for name in ("config.json", "model.safetensors"):
            write(workspace.path / name, "newer")
    assert {path.name: read(path) for path in (tmp_path / "out").iterdir()} == {
        "config.json": "newer",
        "model.safetensors": "newer",
        "notes.txt": "old",
    }
    assert names(tmp_path) == {"out"}


def test_a_live_run_of_another_process_is_left_alone(tmp_path, stopped_run):
    child = stopped_run(tmp_path / "out", "written")
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    with pytest.raises(FolderError, match="another run is writing"), publishing(tmp_path / "out", force=True):
        pytest.fail("the block must not be entered")
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before
    kill(child)
    with publishing(tmp_path / "out"):
        pass
    assert names(tmp_path) == {"out"}
