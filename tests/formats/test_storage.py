import zlib
from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import LocalFile
from dinoport.formats.storage import Storage
from dinoport.formats.values import stored_tensor
from dinoport.tensor import BLOCK_BYTES, TensorRef

VALUES = np.arange(3 * BLOCK_BYTES // 4 + 5, dtype="<f4")
START = 7
"""Where the storage begins in its file."""


class CountingFile(LocalFile):
    """A file that counts what is read of it."""

    read_bytes = 0

    def readinto(self, offset: int, buffer: memoryview) -> None:
        self.read_bytes += len(buffer)
        super().readinto(offset, buffer)


@pytest.fixture
def file(tmp_path: Path):
    (tmp_path / "values").write_bytes(b"." * START + VALUES.tobytes())
    source = CountingFile(tmp_path / "values")
    yield source
    source.close()


def storage(file: CountingFile, crc32: int | None = zlib.crc32(VALUES.tobytes())) -> Storage:
    return Storage(file, "data/0", VALUES.nbytes, lambda: START, crc32)


def tensor(of: Storage, first: int, size: int) -> TensorRef:
    return stored_tensor("weight", of, np.dtype("<f4"), first, (size,), (1,))


def test_what_was_read_in_order_is_checked_without_a_second_reading(file: CountingFile) -> None:
    found = storage(file)
    third = VALUES.size // 3
    for first in (0, third, 2 * third):
        tensor(found, first, third).read()
    tensor(found, 3 * third, VALUES.size - 3 * third).read()
    found.check()
    assert file.read_bytes == VALUES.nbytes


def test_what_was_not_read_yet_is_read_for_the_check(file: CountingFile) -> None:
    found = storage(file)
    tensor(found, 0, 100).read()
    tensor(found, 200, 100).read()
    found.check()
    assert file.read_bytes == VALUES.nbytes + 400


@pytest.mark.parametrize("read_before", [0, 1, VALUES.size])
def test_a_checksum_that_does_not_hold_is_found_however_much_was_read(file: CountingFile, read_before: int) -> None:
    found = storage(file, crc32=0x1234)
    tensor(found, 0, read_before).read()
    with pytest.raises(CheckpointError, match=r"is damaged: a checksum does not hold") as raised:
        found.check()
    assert f"found: {zlib.crc32(VALUES.tobytes()):08x}" in str(raised.value)
    assert "expected: CRC-32 00001234, as the file says" in str(raised.value)


def test_a_storage_without_a_checksum_is_not_read_for_one(file: CountingFile) -> None:
    storage(file, crc32=None).check()
    assert file.read_bytes == 0
