"""torch.save's zip format: a pickle of the objects, and beside it one stored record for each storage."""

from __future__ import annotations

import struct
import zipfile

from dinoport.checkpoints.byte_sources import ByteSource, SourceFile
from dinoport.checkpoints.inert_pickle import Global, InertUnpickler
from dinoport.checkpoints.storage import Storage
from dinoport.checkpoints.torch_tensors import STORAGE_DTYPES, TypedStorage, builders
from dinoport.errors import CheckpointError

MAX_RECORDS = 500_000
"""Storages of one file; a full 7B training checkpoint has some thousand."""

MAX_PICKLE_BYTES = 256 * 1024 * 1024
"""Of data.pkl, which holds names and shapes only."""

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""A zip member's local header: signature, then the lengths of its name and extra field."""


def read_torch_zip(source: ByteSource) -> object:
    """The objects in a torch zip file, with TensorRefs for tensors. Reads the directory and the pickle only."""
    archive = _open(source)
    records = {info.filename: info for info in archive.infolist()}
    if len(records) != len(archive.infolist()):
        raise _broken(source, "two records of one name")
    pickles = [name for name in records if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(
            f"{source.where} is a zip file, but not one that torch.save wrote",
            expected="one record data.pkl",
            found=f"{len(records)} records: {', '.join(list(records)[:4])}",
            cause="an archive of another kind (.docx, .npz, a packed folder)",
            next_step="unpack it, and give the checkpoint inside",
        )
    top = pickles[0].removesuffix("data.pkl")
    if "constants.pkl" in {name.removeprefix(top) for name in records}:
        raise _broken(source, "a TorchScript archive, which holds code", "save the state dict of the model instead")
    order = _small(source, records.get(f"{top}byteorder"), b"little")
    storages: dict[str, TypedStorage] = {}

    def persistent(key: object) -> object:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage" or not isinstance(key[1], Global):
            raise _broken(source, f"a reference {str(key)[:60]!r}")
        name = str(key[2])
        if name not in storages:
            dtype = STORAGE_DTYPES.get(key[1].name.rpartition(".")[2])
            info = records.get(f"{top}data/{name}")
            if dtype is None or info is None:
                what = f"no record {top}data/{name}" if dtype else f"storages of type {key[1].name}"
                raise _broken(source, what)
            storages[name] = TypedStorage(_storage(source, info), dtype, order == b"big")
        return storages[name]

    data = _small(source, records[pickles[0]], limit=MAX_PICKLE_BYTES)
    return InertUnpickler(data, source.where, builders(source.where), persistent).load()


def _open(source: ByteSource) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(SourceFile(source))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError) as error:
        raise CheckpointError(
            f"{source.where} is cut off or damaged: it begins as a torch file and has no sound directory",
            expected="a zip directory at the end of the file",
            found=f"{source.size_bytes} bytes; {error}",
            cause="a download or a copy that broke off",
            next_step="fetch the file again and compare its size with the original's",
        ) from error
    if len(archive.infolist()) > MAX_RECORDS:
        raise _broken(source, f"{len(archive.infolist())} records")
    return archive


def _storage(source: ByteSource, info: zipfile.ZipInfo) -> Storage:
    _check_stored(source, info)
    return Storage(source, info.filename, info.file_size, lambda: _data_offset(source, info), info.CRC)


def _check_stored(source: ByteSource, info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        raise _broken(
            source,
            f"{info.filename} is compressed or encrypted: {info.compress_size} bytes for {info.file_size}",
            "write the file with torch.save, which stores tensors as they are",
        )
    if info.header_offset + LOCAL_HEADER.size + info.file_size > source.size_bytes:
        raise _broken(source, f"{info.filename} reaches beyond the end of the file")


def _data_offset(source: ByteSource, info: zipfile.ZipInfo) -> int:
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(source.read(info.header_offset, LOCAL_HEADER.size))
    name = source.read(info.header_offset + LOCAL_HEADER.size, name_bytes)
    if signature != b"PK\3\4" or name != info.orig_filename.encode("utf-8"):
        raise _broken(source, f"{info.filename} is not where the directory says")
    return int(info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes)


def _small(
    source: ByteSource, info: zipfile.ZipInfo | None, otherwise: bytes = b"", limit: int = MAX_PICKLE_BYTES
) -> bytes:
    """The whole content of a small record."""
    if info is None:
        return otherwise
    _check_stored(source, info)
    if info.file_size > limit:
        raise _broken(source, f"{info.filename} takes {info.file_size} bytes, where at most {limit} are sound")
    return source.read(_data_offset(source, info), info.file_size)


def _broken(
    source: ByteSource, found: str, next_step: str = "fetch the file again from where it came"
) -> CheckpointError:
    return CheckpointError(
        f"{source.where} is not a sound torch file",
        found=found,
        cause="a damaged file, or one that was made to mislead",
        next_step=next_step,
    )
