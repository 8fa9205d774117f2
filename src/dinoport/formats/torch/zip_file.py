"""torch.save's zip format: a pickle of the objects, and beside it one stored record for each storage."""

import re
from collections.abc import Mapping
from functools import partial

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.checksums import crc32
from dinoport.formats.storage import Storage, checksum_error
from dinoport.formats.torch.builders import builders
from dinoport.formats.torch.inert_pickle import InertUnpickler
from dinoport.formats.torch.storages import StorageKey, TypedStorage, broken
from dinoport.formats.torch.zip_directory import not_of_torch, read_directory
from dinoport.formats.torch.zip_record import Record
from dinoport.shown.text import value_text

MAX_PICKLE_BYTES = 16 * 1024 * 1024
"""Of data.pkl, which holds names and shapes: 2 MB for the training checkpoint of a 7B model."""

MAX_WORD_BYTES = 64
"""Of a record that holds one word."""


VERSION = re.compile(rb"([1-9]|10)\n?")
"""Of torch's zip format: 10 is the highest that it reads."""

WORDS = {
    ".data/version": VERSION,
    "version": VERSION,
    ".format_version": re.compile(rb"[0-9]{1,9}"),
    ".storage_alignment": re.compile(rb"[0-9]{1,9}"),
    ".data/serialization_id": re.compile(rb"[0-9]*"),
}
"""Records of one word that torch reads of each file which has them."""


def read_torch_zip(source: ByteSource) -> object:
    """The objects in a torch zip file, with TensorRefs for tensors. Reads the directory and the pickle only."""
    records = read_directory(source)
    top = _top(source, records)
    _check_version(source, top, records)
    big_endian = _is_big_endian(source, records.get(f"{top}/byteorder"))
    storages: dict[str, TypedStorage] = {}

    def persistent(key: object) -> object:
        wanted = StorageKey.of(source.where, key, 5, untyped=True)
        if wanted.name not in storages:
            record = records.get(f"{top}/data/{wanted.name}")
            if record is None:
                raise broken(source.where, f"no record {top}/data/{wanted.name}, which a tensor lies in")
            if record.size_bytes != wanted.size_bytes:
                found = f"{wanted.count} elements of {wanted.dtype} declared for {record.size_bytes} bytes"
                raise broken(source.where, f"{record.name}: {found}")
            locate = partial(record.data_offset, source)
            storage = Storage(source, record.name, record.size_bytes, locate, record.crc32, record.extent)
            storages[wanted.name] = TypedStorage(storage, wanted.dtype, wanted.count, big_endian)
        return wanted.checked(source.where, storages[wanted.name])

    data = _content(source, records[f"{top}/data.pkl"], MAX_PICKLE_BYTES)
    unpickler = InertUnpickler(data, source.where, builders(source.where), persistent)
    tree = unpickler.load()
    unpickler.unknown_steps.settle()
    return tree


def _top(source: ByteSource, records: Mapping[str, Record]) -> str:
    """The one folder that all records of a torch file lie in."""
    tops = sorted({name.partition("/")[0] for name in records})
    if len(tops) != 1 or f"{tops[0]}/data.pkl" not in records:
        raise not_of_torch(source, list(records))
    return tops[0]


def _check_version(source: ByteSource, top: str, records: Mapping[str, Record]) -> None:
    """Torch reads no file without these, and none that it takes for newer than itself."""
    for name, sound in WORDS.items():
        record = records.get(f"{top}/{name}")
        if record is not None and not sound.fullmatch(found := _content(source, record, MAX_WORD_BYTES)):
            raise broken(source.where, f"a record {name} that says {value_text(found[:16])}")
    if not {f"{top}/.data/version", f"{top}/version"} & records.keys():
        raise broken(source.where, "no record of the format's version")


def _is_big_endian(source: ByteSource, record: Record | None) -> bool:
    """Files of torch before 2.1 have no such record, and are little-endian unless their writer was not."""
    order = b"little" if record is None else _content(source, record, MAX_WORD_BYTES)
    if order not in (b"little", b"big"):
        raise broken(source.where, f"a byte order {value_text(order[:16])}")
    return order == b"big"


def _content(source: ByteSource, record: Record, limit: int) -> bytes:
    """The whole content of a small record, checked against its checksum."""
    if record.size_bytes > limit:
        raise CheckpointError(
            f"{source.where} holds an uncommonly large {record.name}",
            expected=f"at most {limit} bytes: names and shapes, with tensors beside them",
            found=f"{record.size_bytes} bytes",
            cause="weights that were saved as NumPy arrays or lists, inside the pickle",
            next_step="turn them into tensors, and save the state dict with torch.save",
        )
    data = record.content(source)
    if record.crc32 is not None and crc32(data) != record.crc32:
        raise checksum_error(source.where, record.name, record.crc32, crc32(data))
    return data
