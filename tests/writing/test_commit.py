import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout

from dinoport.errors import FolderError
from dinoport.formats.safetensors.writer import write_safetensors
from dinoport.writing.commit import publishing
from dinoport.writing.place import Place
from tests.error_text import error_text
from tests.writing.of_a_model import read, write
from tests.writing.stub_tensors import tensor


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too; empty folders as such."""
    paths = sorted(folder.rglob("*"))
    files = {str(path.relative_to(folder)): read(path) for path in paths if path.is_file()}
    return files | {
        str(path.relative_to(folder)) + "/": "" for path in paths if path.is_dir() and not any(path.iterdir())
    }


def make(folder: Path, text: str) -> Path:
    folder.mkdir()
    write(folder / "config.json", text)
    return folder


def convert(target: Path, text: str, then: Callable[[], object] = lambda: None, **options) -> None:
    with publishing(target, **options) as workspace:
        write(workspace.path if options.get("single_file") else workspace.path / "config.json", text)
        then()


def failing(error: type[BaseException]) -> Callable[[], None]:
    def fail(*_: object, **__: object) -> None:
        raise error("no")

    return fail


def test_a_folder_appears_whole_at_the_end(tmp_path):
    with publishing(tmp_path / "out") as workspace:
        (workspace.path / "deep").mkdir()
        (workspace.path / "deep" / "README.md").write_text("two")
        write(workspace.path / "config.json", "one")
        assert not (tmp_path / "out").exists()
        assert workspace.path.parent == tmp_path
    assert contents(tmp_path) == {"out/config.json": "one", "out/deep/README.md": "two"}


def test_a_file_appears_whole_at_the_end(tmp_path):
    with publishing(tmp_path / "out.pth", single_file=True) as workspace:
        assert workspace.path.name == "out.pth"
        workspace.path.write_text("one")
        assert not (tmp_path / "out.pth").exists()
    assert contents(tmp_path) == {"out.pth": "one"}


def test_the_usual_permissions(tmp_path):
    """Not those of a temporary folder, which only its owner can read."""
    convert(tmp_path / "out", "one")
    make(tmp_path / "usual", "one")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("single_file", [False, True])
def test_after_any_exception_nothing_is_left(tmp_path, error, single_file):
    with pytest.raises(error):
        convert(tmp_path / "out", "one", failing(error), single_file=single_file)
    assert contents(tmp_path) == {}


def test_missing_parents_are_made_and_removed_again(tmp_path):
    with pytest.raises(ValueError, match="no"):
        convert(tmp_path / "new" / "deep" / "out", "one", failing(ValueError))
    assert contents(tmp_path) == {}
    convert(tmp_path / "new" / "deep" / "out", "one")
    assert contents(tmp_path) == {"new/deep/out/config.json": "one"}


def test_a_parent_that_others_use_meanwhile_stays(tmp_path):
    def fail() -> None:
        make(tmp_path / "new" / "other", "theirs")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        convert(tmp_path / "new" / "out", "one", fail)
    assert contents(tmp_path) == {"new/other/config.json": "theirs"}


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    make(tmp_path / "out", "old")
    with pytest.raises(FolderError, match="exists"):
        convert(tmp_path / "out", "new")
    assert contents(tmp_path) == {"out/config.json": "old"}


@pytest.mark.parametrize("single_file", [False, True])
def test_force_replaces(tmp_path, single_file):
    target = tmp_path / "out"
    target.write_text("old") if single_file else make(target, "old")
    with publishing(target, force=True, single_file=single_file) as workspace:
        file = workspace.path if single_file else workspace.path / "README.md"
        file.write_text("new")
        assert read(target if single_file else target / "config.json") == "old"
    assert contents(tmp_path) == {"out" if single_file else "out/README.md": "new"}


def test_force_through_a_link_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "disk").mkdir()
    make(tmp_path / "disk" / "real", "old")
    (tmp_path / "out").symlink_to(Path("disk", "real"))
    convert(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out").is_symlink()
    assert {path.name for path in tmp_path.rglob("*")} == {"out", "disk", "real", "config.json"}
    assert read(tmp_path / "disk" / "real" / "config.json") == "new"


def test_force_keeps_the_old_folder_when_the_conversion_fails(tmp_path):
    make(tmp_path / "out", "old")
    with pytest.raises(ValueError, match="no"):
        convert(tmp_path / "out", "new", failing(ValueError), force=True)
    assert contents(tmp_path) == {"out/config.json": "old"}


def test_force_puts_the_old_folder_back_when_the_second_rename_fails(tmp_path, monkeypatch):
    make(tmp_path / "out", "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(FolderError) as caught:
        convert(tmp_path / "out", "new", force=True)
    assert caught.value.what == "out cannot be written: input/output error"
    assert contents(tmp_path) == {"out/config.json": "old"}


def test_an_interruption_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    make(tmp_path / "out", "old")

    def interrupt(self: Path, target: Path) -> None:
        assert not (tmp_path / "out").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "out", "new", force=True)
    assert contents(tmp_path) == {"out/config.json": "old"}


def test_a_folder_that_something_else_makes_meanwhile_is_kept(tmp_path):
    with pytest.raises(FolderError, match="exists"):
        convert(tmp_path / "out", "ours", lambda: make(tmp_path / "out", "theirs"))
    assert contents(tmp_path) == {"out/config.json": "theirs"}


def test_a_folder_that_something_else_makes_in_the_last_moment_is_kept(tmp_path, monkeypatch):
    replace = Path.replace

    def meddle(self: Path, target: Path) -> None:
        make(target, "theirs")
        replace(self, target)

    monkeypatch.setattr(Path, "replace", meddle)
    assert error_text(FolderError, lambda: convert(tmp_path / "out", "ours")) == (
        f"{tmp_path / 'out'} was made by something else during the conversion\n"
        f"  where: {tmp_path / 'out'}\n"
        "  try: choose another name, or replace it with `force`"
    )
    assert contents(tmp_path) == {"out/config.json": "theirs"}


def test_without_force_nothing_is_moved_aside_at_any_moment(tmp_path, monkeypatch):
    """Even if the folder comes between the last look and the rename."""
    check = Place.check

    def meddle(self: Place, **options: bool) -> None:
        check(self, **options)
        if self.new.exists():
            make(self.path, "theirs")

    monkeypatch.setattr(Place, "check", meddle)
    with pytest.raises(FolderError, match="was made by something else"):
        convert(tmp_path / "out", "ours")
    assert contents(tmp_path) == {"out/config.json": "theirs"}


class TestUnproven:
    def convert(self, target: Path, **options) -> Path:
        with suppress(ValueError), publishing(target, keep_unproven=True, **options) as workspace:
            file = workspace.path if options.get("single_file") else workspace.path / "config.json"
            file.write_text("doubtful")
            shown = workspace.publish_unproven()
            raise ValueError("not proven")
        return shown

    def test_it_goes_beside_the_target(self, tmp_path):
        assert self.convert(tmp_path / "out") == tmp_path / "out.unproven"
        assert contents(tmp_path) == {"out.unproven/config.json": "doubtful"}

    def test_it_never_replaces_the_target(self, tmp_path):
        make(tmp_path / "out", "old")
        self.convert(tmp_path / "out", force=True)
        assert contents(tmp_path) == {"out/config.json": "old", "out.unproven/config.json": "doubtful"}

    def test_one_file(self, tmp_path):
        assert self.convert(tmp_path / "out.pth", single_file=True) == tmp_path / "out.pth.unproven"
        assert contents(tmp_path) == {"out.pth.unproven": "doubtful"}

    def test_the_path_is_shown_as_it_was_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert self.convert(Path("out")) == Path("out.unproven")

    def test_an_earlier_one_is_refused_before_the_work_begins_and_replaced_by_force(self, tmp_path):
        make(tmp_path / "out.unproven", "earlier")
        with pytest.raises(FolderError, match=r"out\.unproven exists"):
            convert(tmp_path / "out", "new", keep_unproven=True)
        assert contents(tmp_path) == {"out.unproven/config.json": "earlier"}
        self.convert(tmp_path / "out", force=True)
        assert contents(tmp_path) == {"out.unproven/config.json": "doubtful"}

    def test_a_block_that_ends_well_afterwards_publishes_nothing_more(self, tmp_path):
        with publishing(tmp_path / "out") as workspace:
            workspace.publish_unproven()
        assert contents(tmp_path) == {"out.unproven/": ""}


def test_a_run_that_ends_while_its_lock_is_looked_at_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was once made anew by whoever looked for it, and lay there for good."""
    acquire = FileLock.acquire

    def held(*given: Any, **options: Any) -> Any:
        monkeypatch.setattr(FileLock, "acquire", acquire)
        raise Timeout("held until now")

    monkeypatch.setattr(FileLock, "acquire", held)
    with publishing(tmp_path / "out") as workspace:
        (workspace.path / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class TestRecovery:
    """The states that a run can be killed in, made by hand; test_kill.py makes them by killing."""

    def test_leftovers_go(self, tmp_path):
        place = Place.of(tmp_path / "out")
        make(place.new, "half")
        make(place.discarded, "old")
        place.lock.touch()
        make(tmp_path / ".other.dinoport-new", "of another target")
        convert(tmp_path / "out", "new")
        assert contents(tmp_path) == {"out/config.json": "new", ".other.dinoport-new/config.json": "of another target"}

    @pytest.mark.parametrize("force", [False, True])
    def test_between_the_renames(self, tmp_path, force):
        place = Place.of(tmp_path / "out")
        make(place.old, "old")
        make(place.new, "whole, but not published")
        if force:
            convert(tmp_path / "out", "new", force=True)
        else:
            with pytest.raises(FolderError, match="exists"):
                convert(tmp_path / "out", "new")
        assert contents(tmp_path) == {"out/config.json": "new" if force else "old"}

    def test_after_the_second_rename(self, tmp_path):
        make(Place.of(tmp_path / "out").old, "old")
        make(tmp_path / "out", "new")
        with pytest.raises(FolderError, match="exists"):
            convert(tmp_path / "out", "newer")
        assert contents(tmp_path) == {"out/config.json": "new"}

    @pytest.mark.parametrize("force", [False, True])
    def test_two_folders_that_claim_the_name_are_both_kept(self, tmp_path, force):
        place = Place.of(tmp_path / "out")
        make(place.old, "moved aside")
        make(place.new, "whole, but not published")
        make(tmp_path / "out", "made since")
        assert error_text(FolderError, lambda: convert(tmp_path / "out", "new", force=force)) == (
            f"{tmp_path / 'out'} was made while the folder of that name was moved aside to be replaced\n"
            f"  where: {place.old}\n"
            "  likely cause: a conversion with `force` was killed, and something else then made the folder\n"
            "  try: keep one of the two: delete the one moved aside, or put it back under its name"
        )
        kept = contents(tmp_path)
        assert (kept["out/config.json"], kept[".out.dinoport-old/config.json"]) == ("made since", "moved aside")


def test_a_target_in_use_is_refused(tmp_path):
    with publishing(tmp_path / "out") as workspace:
        write(workspace.path / "config.json", "first")
        with pytest.raises(FolderError) as caught:
            convert(tmp_path / "out", "second", force=True)
        convert(tmp_path / "other", "not in its way")
    assert str(caught.value) == (
        f"another run is writing {tmp_path / 'out'}\n"
        f"  where: {tmp_path / 'out'}\n"
        "  try: wait until it is done, or choose another name"
    )
    assert contents(tmp_path) == {"out/config.json": "first", "other/config.json": "not in its way"}


@contextmanager
def refusals(texts: list[str]) -> Iterator[None]:
    try:
        yield
    except FolderError as error:
        texts.append(str(error))


def test_many_at_once_never_meet(tmp_path):
    """The lock file comes and goes with every run; nobody may hold one that has lost its name."""
    inside = threading.Lock()
    done: list[str] = []
    refused: list[str] = []
    met: list[str] = []

    def enter(name: str) -> None:
        with publishing(tmp_path / "out", force=True) as workspace:
            if not inside.acquire(blocking=False):
                met.append(name)
            write(workspace.path / "config.json", name)
            write(workspace.path / "model.safetensors", name)
            inside.release()

    def work(name: str) -> None:
        for _ in range(40):
            with refusals(refused):
                enter(name)
                done.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not met
    assert len(done) + len(refused) == 160
    assert {text.split("\n")[0] for text in refused} <= {f"another run is writing {tmp_path / 'out'}"}
    assert set(contents(tmp_path)) == {"out/config.json", "out/model.safetensors"}
    assert read(tmp_path / "out" / "config.json") == read(tmp_path / "out" / "model.safetensors")


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "out", tmp_path / "file" / "new" / "out"):
        with pytest.raises(FolderError) as caught:
            convert(target, "new")
        assert caught.value.what == f"{target.parent.name} cannot be written: not a directory"
        assert caught.value.cause == "a part of this path is a file, not a folder"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.EACCES, "you may not write in this folder"),
        (errno.EROFS, "the file system is mounted read-only"),
        (errno.ENOSPC, "the disk is full"),
    ],
)
def test_a_parent_that_cannot_be_written(tmp_path, monkeypatch, code, cause):
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", fail)
    for target in (tmp_path / "out", tmp_path / "new" / "out"):
        with pytest.raises(FolderError) as caught:
            convert(target, "new")
        assert caught.value.cause == cause
    assert contents(tmp_path) == {}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_is_not_ours(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FolderError, match="out"):
            convert(tmp_path / "out", "new")
    finally:
        tmp_path.chmod(0o700)


def test_a_real_disk_that_is_mounted_read_only(mounted):
    with pytest.raises(FolderError) as caught:
        convert(mounted("ro") / "out", "new")
    assert caught.value.cause == "the file system is mounted read-only"


@pytest.mark.parametrize("reserves", [True, False])
def test_a_real_disk_that_fills_up(mounted, monkeypatch, reserves):
    disk = mounted()
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate")
    moved: list[int] = []
    too_large = tensor("a", np.ones(2**18), block=2**14)
    with pytest.raises(FolderError) as caught, publishing(disk / "out") as workspace:
        write_safetensors(workspace.path / "model.safetensors", [too_large], on_bytes=moved.append)
    assert caught.value.what == "model.safetensors cannot be written: no space left on device"
    assert caught.value.expected == "room for 2.1 MB"
    assert caught.value.found.endswith(" free")
    assert bool(moved) is not reserves
    assert contents(disk) == {}


def test_everything_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    flushed: list[str] = []
    flush = os.fsync

    def record(descriptor: int) -> None:
        flushed.append(
            str(Path(f"/proc/self/fd/{descriptor}").readlink()) + (" named" if (tmp_path / "out").exists() else "")
        )
        flush(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to name what was flushed")
    with publishing(tmp_path / "out") as workspace:
        (workspace.path / "deep").mkdir()
        write(workspace.path / "deep" / "config.json", "one")
        monkeypatch.setattr(os, "fsync", record)
    new = str(workspace.path)
    assert sorted(flushed) == sorted([f"{new}/deep/config.json", f"{new}/deep", new, f"{tmp_path} named"])
