import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest

from dinoport.errors import FolderError
from dinoport.files import output_file
from dinoport.files.output_file import OutputFile, WrittenFile


def failing(code: int):
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def write(
    path: Path, *parts: bytes, expected_bytes: int = 0, between: Callable[[], None] = lambda: None
) -> WrittenFile:
    with OutputFile(path, expected_bytes) as file:
        for part in parts:
            file.write(part)
            between()
        return file.finish()


def test_bytes_size_and_hash(tmp_path):
    parts = [b"", b"a", bytes(range(256)) * 9000, b"end"]
    with OutputFile(tmp_path / "f", 4) as file:
        assert [file.write(part) for part in parts] == [len(part) for part in parts]
        written = file.finish()
    data = b"".join(parts)
    assert (tmp_path / "f").read_bytes() == data
    assert (written.name, written.size_bytes) == ("f", len(data))
    assert written.sha256 == hashlib.sha256(data).hexdigest()


def test_an_empty_file(tmp_path):
    with OutputFile(tmp_path / "f") as file:
        assert file.finish().sha256 == hashlib.sha256().hexdigest()
    assert (tmp_path / "f").read_bytes() == b""


def test_a_buffer_may_be_used_again_at_once(tmp_path):
    buffer = bytearray(3)
    with OutputFile(tmp_path / "f") as file:
        for digit in range(50):
            buffer[:] = bytes([digit]) * 3
            file.write(buffer)
        written = file.finish()
    assert written.sha256 == hashlib.sha256(b"".join(bytes([digit]) * 3 for digit in range(50))).hexdigest()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with OutputFile(tmp_path / "f") as file:
        file.write(b"0123456789")
        file.finish()
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_block_that_is_left_early_leaves_no_file(tmp_path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "f", b"some", between=interrupt)
    with OutputFile(tmp_path / "f", 100) as file:
        file.write(b"some")
    assert list(tmp_path.iterdir()) == []


def test_fewer_bytes_than_announced_are_an_internal_error(tmp_path):
    with pytest.raises(RuntimeError, match="f: 4 of 100 bytes were written"):
        write(tmp_path / "f", b"some", expected_bytes=100)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(FolderError, match="f cannot be written: file exists"):
        OutputFile(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_full_disk_is_met_before_any_byte_moves(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC), raising=False)
    monkeypatch.setattr(output_file.os, "write", failing(errno.EIO))
    with pytest.raises(FolderError) as caught, OutputFile(tmp_path / "model.safetensors", 343_200_000):
        pytest.fail("the block must not be entered")
    lines = str(caught.value).split("\n")
    assert lines[:3] == [
        "model.safetensors cannot be written: no space left on device",
        f"  where: {tmp_path / 'model.safetensors'}",
        "  expected: room for 343.2 MB",
    ]
    assert lines[3].startswith("  found: ")
    assert lines[3].endswith(" free")
    assert lines[4:] == [
        "  likely cause: the disk is full",
        "  try: free some space, or choose a folder on another disk",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_cannot_reserve_is_written_all_the_same(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "posix_fallocate", failing(code), raising=False)
    with OutputFile(tmp_path / "f", 4) as file:
        file.write(b"some")
        assert file.finish().size_bytes == 4


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "your quota on this disk is used up"),
        (errno.EIO, "the disk, or the connection to it, reports a failure"),
        (errno.EFBIG, "this file system, or a limit of this session (ulimit -f), takes no file as large as this"),
        (errno.ESTALE, "the connection to the network disk was lost"),
        (errno.ENXIO, None),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failure_on_the_way_removes_the_file(tmp_path, monkeypatch, code, cause, call):
    with pytest.raises(FolderError) as caught:
        write(tmp_path / "f", b"head", b"tail", between=lambda: monkeypatch.setattr(os, call, failing(code)))
    assert caught.value.what == f"f cannot be written: {os.strerror(code)[0].lower()}{os.strerror(code)[1:]}"
    assert caught.value.cause == cause
    assert caught.value.next_step
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_a_file_that_cannot_be_created(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "open", failing(code))
    with pytest.raises(FolderError) as caught:
        OutputFile(tmp_path / "f")
    assert caught.value.cause
    assert caught.value.next_step


def test_a_file_that_is_cut_while_it_is_hashed(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    ends: SimpleQueue[int | None] = SimpleQueue()
    ends.put(5)
    written = WrittenFile("f", 5, output_file._Hash(tmp_path / "f", ends).found)
    with pytest.raises(FolderError, match="the file ends before what was written"):
        assert written.sha256


def test_the_hash_keeps_nobody_waiting(tmp_path, monkeypatch):
    may_read = Event()
    read_back = output_file._Hash._read_back
    monkeypatch.setattr(output_file._Hash, "_read_back", lambda self: may_read.wait(60) and read_back(self))
    written = write(tmp_path / "f", b"some")
    assert not written.hashed.done()
    may_read.set()
    assert written.sha256 == hashlib.sha256(b"some").hexdigest()


def test_a_file_that_is_given_up_is_let_go(tmp_path):
    with OutputFile(tmp_path / "f") as file:
        file.write(b"some")
    assert not file._hash._thread.is_alive()
    assert list(tmp_path.iterdir()) == []
