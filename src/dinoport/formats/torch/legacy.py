"""torch.save's format before 1.6: five pickles one after the other, then the storages' bytes.

The third pickle says which byte order the writing machine had, and is not looked at: storages are little-endian
whatever it says. Source: PyTorch's `torch/csrc/serialization.cpp`, which converts them.
"""

import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeGuard

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import damaged, too_short
from dinoport.formats.archives import LOAD_AND_SAVE
from dinoport.formats.storage import Storage
from dinoport.formats.torch.builders import builders
from dinoport.formats.torch.inert_pickle import InertUnpickler
from dinoport.formats.torch.stand_ins import Global
from dinoport.formats.torch.storages import StorageKey, TypedStorage

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

MAX_PICKLES_BYTES = 16 * 1024 * 1024
"""Of the pickles at the beginning, which hold names and shapes, as in a zip file's data.pkl."""

READ_BYTES = (256 * 1024, 2 * 1024 * 1024, MAX_PICKLES_BYTES)
"""Read at first: as a rule all of the pickles, and little of the storages behind them; then more, if they go on."""


def read_torch_legacy(source: ByteSource) -> object:
    """The objects in a legacy torch file, with TensorRefs for tensors. Reads the pickles only.

    Raises CheckpointError; a bare pickle, which is not a torch file, is refused after its globals were looked at.
    """
    for size_bytes in READ_BYTES[:-1]:
        with suppress(_MoreWantedError):
            return _read(source, source.read(0, min(source.size_bytes, size_bytes)))
    return _read(source, source.read(0, min(source.size_bytes, READ_BYTES[-1])))


def begins_torch_legacy(source: ByteSource) -> bool:
    """Whether torch.load takes a file for its legacy format: whether the first pickle in it is the magic number.

    True where the pickle does not end soon, and so may be that number; bytes of another format are none at once.
    """
    data = source.read(0, min(source.size_bytes, READ_BYTES[0]))
    unpickler = InertUnpickler(data, source.where, builders(source.where))
    try:
        return unpickler.load() == MAGIC_NUMBER
    except CheckpointError:
        goes_on = unpickler.bytes.position >= len(data) - 16 and len(data) < source.size_bytes
        return (
            goes_on and unpickler.bytes.wanted <= source.size_bytes
        )  # lengths of another format may read as any number


COUNT = struct.Struct("<q")
"""In front of each storage: its number of elements."""


def _is_module(key: object) -> TypeGuard[tuple[str, Global, object, object]]:
    """Whether a key is a class with its source code. torch fails over its storage types and dtypes in that place."""
    if not (isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and isinstance(key[1], Global)):
        return False
    return key[1].name.rpartition(".")[0] != "torch"


def _extent(locate: Callable[[], int], size_bytes: int) -> tuple[int, int]:
    return locate(), locate() + size_bytes


class _MoreWantedError(Exception):
    """The pickles go on behind what was read."""


def _read(source: ByteSource, data: bytes) -> object:
    position = 0
    offsets: dict[str, int] = {}
    storages: dict[str, TypedStorage] = {}
    table = builders(source.where)

    def persistent(key: object) -> object:
        if _is_module(key):
            return key[1]  # a class, with its source code
        wanted = StorageKey.of(source.where, key, 6, untyped=False)
        if wanted.name not in storages:
            label, locate = f"storage {wanted.name[:100]}", partial(offsets.__getitem__, wanted.name)
            extent = partial(_extent, locate, wanted.size_bytes)
            storage = Storage(source, label, wanted.size_bytes, locate, extent=extent)
            storages[wanted.name] = TypedStorage(storage, wanted.dtype, wanted.count)
        if isinstance(key, tuple) and key[5] is not None:
            raise CheckpointError(
                f"{source.where} holds a view of a storage, as torch before 0.4 wrote them",
                expected="tensors over whole storages, as later versions write them",
                next_step=LOAD_AND_SAVE,
            )
        return wanted.checked(source.where, storages[wanted.name])

    def load(use: Callable[[object], object] | None = None) -> object:
        nonlocal position
        unpickler = InertUnpickler(data, source.where, table, use, position)
        try:
            found = unpickler.load()
        except CheckpointError:
            if unpickler.bytes.position >= len(data) - 16 and len(data) < min(source.size_bytes, MAX_PICKLES_BYTES):
                raise _MoreWantedError from None
            raise
        position = unpickler.bytes.position
        if use is not None:
            unpickler.unknown_steps.settle()
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
    load()
    tree = load(persistent)
    keys = load()
    names = [key for key in keys if type(key) is str] if isinstance(keys, list) else []
    if not isinstance(keys, list) or len(names) != len(keys) or names != list(dict.fromkeys(names)):
        raise _broken(source, "no sound list of storages")
    if names != [name for name in names if name in storages] or len(names) != len(storages):
        raise _broken(source, "a list of storages that are not those of its tensors")
    _locate_all(source, position, names, storages, offsets)
    return tree


def _locate_all(
    source: ByteSource,
    position: int,
    keys: list[str],
    storages: dict[str, TypedStorage],
    offsets: dict[str, int],
) -> None:
    """Walk the storages behind the pickles: each is its element count, then its bytes."""
    counts = []
    for key in keys:
        counts.append((position, position + COUNT.size))
        position = counts[-1][1] + storages[key].storage.size_bytes
    source.will_read(span for span in counts if span[1] <= source.size_bytes)
    for key, (begin, end) in zip(keys, counts, strict=True):
        (count,) = COUNT.unpack(source.read(begin, COUNT.size))
        typed = storages[key]
        if count * typed.dtype.itemsize != typed.storage.size_bytes:
            raise _broken(source, f"storage {key} holds {count} elements, where its tensors say otherwise")
        offsets[key] = end
    if position > source.size_bytes:
        raise too_short(source.where, f"{position} bytes", f"{source.size_bytes} bytes")


def _broken(source: ByteSource, found: str) -> CheckpointError:
    return damaged(f"{source.where} is not a sound torch file of the legacy format", found)
