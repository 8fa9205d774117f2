"""torch.save's format before 1.6: five pickles one after the other, then the storages' bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable

from dinoport.checkpoints.byte_sources import ByteSource
from dinoport.checkpoints.inert_pickle import Global, InertUnpickler
from dinoport.checkpoints.storage import Storage
from dinoport.checkpoints.torch_tensors import STORAGE_DTYPES, TypedStorage, builders
from dinoport.errors import CheckpointError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

MAX_PICKLES_BYTES = 64 * 1024 * 1024
"""The pickles at the beginning hold names and shapes; they are read in pieces of this size at most."""

FIRST_BYTES = 4 * 1024 * 1024


def read_torch_legacy(source: ByteSource) -> object:
    """The objects in a legacy torch file, with TensorRefs for tensors. Reads the pickles only.

    Raises CheckpointError; a bare pickle, which is no torch file, is refused after its globals were looked at.
    """
    data = source.read(0, min(source.size_bytes, FIRST_BYTES))
    try:
        return _read(source, data)
    except _MoreWantedError:
        return _read(source, source.read(0, min(source.size_bytes, MAX_PICKLES_BYTES)))


class _MoreWantedError(Exception):
    """The pickles go on behind what was read."""


def _read(source: ByteSource, data: bytes) -> object:
    position = 0
    offsets: dict[str, int] = {}
    storages: dict[str, TypedStorage] = {}

    def persistent(key: object) -> object:
        if not isinstance(key, tuple) or len(key) != 6 or key[0] != "storage" or not isinstance(key[1], Global):
            raise _broken(source, f"a reference {str(key)[:60]!r}")
        _, kind, root, _, count, view = key
        dtype = STORAGE_DTYPES.get(kind.name.rpartition(".")[2])
        if dtype is None or type(count) is not int or count < 0:
            raise _broken(source, f"storages of type {kind.name}")
        name = str(root)
        if name not in storages:
            storage = Storage(source, f"storage {name}", count * dtype.itemsize, _locator(offsets, name))
            storages[name] = TypedStorage(storage, dtype, big_endian)
        if view is None:
            return storages[name]
        if not isinstance(view, tuple) or len(view) != 3 or any(type(part) is not int for part in view[1:]):
            raise _broken(source, "a view of a storage that is no view")
        first, length = view[1] * dtype.itemsize, view[2] * dtype.itemsize
        part = Storage(source, f"storage {name}", length, lambda: storages[name].storage.offset_bytes + first)
        return TypedStorage(part, dtype, big_endian)

    def load(use: Callable[[object], object] | None = None) -> object:
        nonlocal position
        unpickler = InertUnpickler(data, source.where, builders(source.where), use, position)
        try:
            found = unpickler.load()
        except CheckpointError:
            if unpickler.position >= len(data) - 16 and len(data) < min(source.size_bytes, MAX_PICKLES_BYTES):
                raise _MoreWantedError from None
            raise
        position = unpickler.position
        return found

    if load() != MAGIC_NUMBER:
        raise CheckpointError(
            f"{source.where} is a pickle, but not one that torch.save wrote",
            expected="torch's zip format, or its legacy format with a magic number",
            found="a pickle of something else",
            cause="pickle.dump instead of torch.save, or a file of another program",
            next_step="save the state dict with torch.save or safetensors",
        )
    if load() != PROTOCOL_VERSION:
        raise _broken(source, "an unknown version of the legacy format")
    system = load()
    big_endian = isinstance(system, dict) and system.get("little_endian") is False
    tree = load(persistent)
    keys = load()
    if not isinstance(keys, list):
        raise _broken(source, "no list of storages")
    _locate_all(source, position, [str(key) for key in keys], storages, offsets, big_endian)
    return tree


def _locate_all(
    source: ByteSource,
    position: int,
    keys: list[str],
    storages: dict[str, TypedStorage],
    offsets: dict[str, int],
    big_endian: bool,
) -> None:
    """Walk the storages behind the pickles: each is its element count, then its bytes."""
    count_format = struct.Struct(">q" if big_endian else "<q")
    for key in keys:
        if key not in storages:
            raise _broken(source, f"a storage {key!r} that no tensor uses")
        (count,) = count_format.unpack(source.read(position, count_format.size))
        typed = storages[key]
        if count * typed.dtype.itemsize != typed.storage.size_bytes:
            raise _broken(source, f"storage {key} holds {count} elements, where its tensors say otherwise")
        offsets[key] = position + count_format.size
        position = offsets[key] + typed.storage.size_bytes
    if position > source.size_bytes:
        raise CheckpointError(
            f"{source.where} ends too early",
            expected=f"{position} bytes",
            found=f"{source.size_bytes} bytes",
            cause="a download or a copy that broke off",
            next_step="fetch the file again and compare its size with the original's",
        )


def _locator(offsets: dict[str, int], name: str) -> Callable[[], int]:
    return lambda: offsets[name]


def _broken(source: ByteSource, found: str) -> CheckpointError:
    return CheckpointError(
        f"{source.where} is not a sound torch file of the legacy format",
        found=found,
        cause="a damaged file, or one that was made to mislead",
        next_step="fetch the file again from where it came",
    )
