"""Files as sources of bytes: cut off, changed, gone, or no files at all."""

import os
import socket
from pathlib import Path

import pytest

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteRange, LocalFile, closed_on_error
from dinoport.files.folders import FilePool, PooledFile

CONTENT = bytes(range(100))


def pooled(path: Path) -> PooledFile:
    return PooledFile(path, FilePool())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file.pth").write_bytes(CONTENT)
    return tmp_path / "file.pth"


@pytest.fixture(params=[LocalFile, pooled])
def opened(request, path):
    source = request.param(path)
    yield source
    source.close()


def refused(action, *args) -> str:
    with pytest.raises(CheckpointError) as caught:
        action(*args)
    return str(caught.value)


def test_reading(opened):
    assert (opened.where, opened.size_bytes) == (str(opened.path), 100)
    assert opened.read(0, 100) == CONTENT
    assert opened.read(90, 10) == CONTENT[90:]
    assert opened.read(100, 0) == b""
    buffer = bytearray(5)
    opened.readinto(3, memoryview(buffer))
    assert buffer == CONTENT[3:8]
    opened.check_unchanged()


@pytest.mark.parametrize(("offset", "size"), [(91, 10), (0, 101), (100, 1), (10**15, 1), (0, 10**15)])
def test_more_than_there_is_is_refused_before_memory_is_taken(opened, offset, size):
    assert refused(opened.read, offset, size) == (
        f"{opened.path} ends too early\n"
        f"  expected: {size} bytes at offset {offset}\n"
        "  found: a file of 100 bytes\n"
        "  likely cause: a download or a copy that broke off\n"
        "  try: fetch the file again and compare its size with the original's"
    )


def test_a_buffer_that_reaches_beyond_the_end(opened):
    assert "ends too early" in refused(opened.readinto, 90, memoryview(bytearray(20)))


def test_a_file_that_shrinks_while_it_is_read(path, opened):
    with path.open("r+b") as file:
        file.truncate(50)
    text = refused(opened.read, 40, 40)
    assert "ends too early" in text or "changed while it was read" in text
    assert refused(opened.check_unchanged) == (
        f"{path} changed while it was read\n"
        "  expected: 100 bytes, as when it was opened\n"
        "  found: 50 bytes, modified since\n"
        "  likely cause: a training run or a download is still writing it\n"
        "  try: wait until it is complete, or copy it first"
    )


def test_a_file_that_grows_or_is_written_in_place(path, opened):
    with path.open("ab") as file:
        file.write(b"more")
    assert "changed while it was read" in refused(opened.check_unchanged)


def test_a_file_of_the_same_size_that_was_modified(path, opened):
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    assert "100 bytes, modified since" in refused(opened.check_unchanged)


def test_a_file_that_does_not_exist(tmp_path):
    for kind in (LocalFile, pooled):
        assert refused(kind, tmp_path / "none.pth") == (
            f"{tmp_path}/none.pth cannot be read: No such file or directory\n  try: ls -l {tmp_path}"
        )


@pytest.mark.skipif(not hasattr(os, "mkfifo") or os.name == "nt", reason="no named pipes here")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "it"
    if kind == "device":
        path = Path("/dev/zero")
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.relpath(path))
        listener.close()
    else:
        os.mkfifo(path)
    if kind == "link to a pipe":
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    for source in (LocalFile, pooled):
        text = refused(source, path)
        if kind != "socket":
            found, step = "a socket or a device, which has no size", "give the file itself"
            if kind != "device":
                found = "a pipe, which has no size and is read once"
                step = f"copy its content into a file: cat {path} > checkpoint.pth"
            assert text == (
                f"{path} is not a regular file\n  expected: a file, or a folder\n  found: {found}\n  try: {step}"
            )


def test_a_link_that_leads_nowhere_is_called_so(tmp_path):
    (tmp_path / "link.pth").symlink_to("gone.pth")
    for source in (LocalFile, pooled):
        assert refused(source, tmp_path / "link.pth") == (
            f"{tmp_path / 'link.pth'} is a symbolic link that leads nowhere\n"
            "  found: a link to gone.pth\n"
            "  likely cause: the file was moved or deleted, or lies on a disk that is not mounted\n"
            "  try: give the file itself"
        )


def test_a_file_without_the_right_to_read_it(path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path.chmod(0)
    assert "cannot be read: Permission denied" in refused(LocalFile, path)


def test_a_read_error_of_the_disk(path, monkeypatch):
    source = LocalFile(path)

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail, raising=False)
    assert f"{path} cannot be read: Input/output error" in refused(source.read, 0, 10)
    source.close()


def test_a_range_of_another_source(path):
    with_end = ByteRange(LocalFile(path), "part", 10, 20)
    assert with_end.read(0, 20) == CONTENT[10:30]
    assert "part ends too early" in refused(with_end.read, 15, 6)
    assert "found: a range of 20 bytes" in refused(with_end.read, 15, 6)
    assert "part ends too early" in refused(with_end.read, -1, 1)
    with_end.source.close()


def test_what_was_opened_is_closed_where_a_block_fails_and_only_there() -> None:
    closed: list[str] = []
    with closed_on_error(lambda: closed.append("sound")):
        pass
    with pytest.raises(KeyboardInterrupt), closed_on_error(lambda: closed.append("stopped")):
        raise KeyboardInterrupt
    assert closed == ["stopped"]


@pytest.mark.parametrize("offset", [-1, 11])
def test_nothing_is_read_outside_of_a_file(tmp_path: Path, offset: int) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    for source in (LocalFile(tmp_path / "file"), PooledFile(tmp_path / "file", FilePool())):
        with pytest.raises(CheckpointError, match="ends too early") as caught:
            source.read(offset, 1)
        assert caught.value.expected == f"1 bytes at offset {offset}"
        source.close()
