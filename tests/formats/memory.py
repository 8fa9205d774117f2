"""A byte source in memory, and torch files around any pickle."""

import io
import zipfile
from collections.abc import Mapping

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource


class Memory(ByteSource):
    """Bytes as a source."""

    def __init__(self, data: bytes, where: str = "file.pth") -> None:
        self.data = data
        self.where = where
        self.size_bytes = len(data)

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size > max(self.size_bytes - offset, 0):
            raise CheckpointError(f"{self.where} ends too early")
        return self.data[offset : offset + size]

    def readinto(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.read(offset, len(buffer))


def zipped(records: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these records, each as it is."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def torch_zip(pickled: bytes, storages: Mapping[str, bytes] | None = None, **records: bytes) -> bytes:
    """A torch file with this pickle, these storages by their keys, and more records."""
    named = {f"data/{key}": data for key, data in (storages or {}).items()}
    found = {"data.pkl": pickled, "byteorder": b"little", **named, **records, "version": b"3\n"}
    return zipped({f"archive/{name}": data for name, data in found.items()})


def unsound(found: str, what: str = "a sound torch file") -> str:
    """What is said of a file that holds what nobody's does."""
    return (
        f"file.pth is not {what}\n"
        f"  found: {found}\n"
        "  likely cause: a damaged file, or one that was made to mislead\n"
        "  try: fetch the file again from where it came"
    )
