from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dinoport.errors import CheckpointError
from dinoport.files import folders as file_pool
from dinoport.files.byte_sources import LocalFile
from dinoport.files.folders import FilePool, PooledFile


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    made = [tmp_path / f"{number}.distcp" for number in range(40)]
    for number, path in enumerate(made):
        path.write_bytes(bytes([number]) * 100 + b"end")
    return made


@pytest.fixture
def open_files(monkeypatch) -> list[LocalFile]:
    """Every file that a pool has opened, in order."""
    opened: list[LocalFile] = []

    class Watched(LocalFile):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)

    monkeypatch.setattr(file_pool, "LocalFile", Watched)
    return opened


def is_open(file: LocalFile) -> bool:
    return not file._file.closed


def test_no_more_files_are_open_than_the_limit(paths, open_files) -> None:
    pool = FilePool(limit=3)
    for _ in range(2):
        for number, path in enumerate(paths):
            assert PooledFile(path, pool).read(99, 4) == bytes([number]) + b"end"
            assert sum(map(is_open, open_files)) <= 3
    pool.close()
    assert len(open_files) == 80
    assert not any(map(is_open, open_files))


def test_a_file_is_opened_once_for_many_reads(paths, open_files) -> None:
    file = PooledFile(paths[0], FilePool())
    assert [file.read(offset, 1) for offset in range(100)] == [b"\0"] * 100
    file.close()
    assert [each.path for each in open_files] == [paths[0]]


def test_threads_read_one_file_side_by_side(paths) -> None:
    file = PooledFile(paths[7], FilePool(limit=2))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda offset: file.read(offset % 100, 1), range(2000)))
    file.close()
    assert found == [b"\7"] * 2000


def test_reading_beyond_the_end_is_refused(paths) -> None:
    file = PooledFile(paths[0], FilePool())
    with pytest.raises(CheckpointError, match="ends too early"):
        file.read(100, 4)
    file.close()
