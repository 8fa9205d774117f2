"""Streaming tensors into a torch file (`.pth`) that holds a state dict, or dicts of them, made without torch.

The file is a zip of stored records, as torch.save has written since 1.6: a pickle of names and shapes, and one record
of raw bytes for each tensor, at a multiple of 64 bytes so that torch can map it into memory. Source of the records:
PyTorch's `caffe2/serialize/inline_container.cc`.
"""

import hashlib
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from dinoport.files.census import Census
from dinoport.files.output_file import OutputFile, WrittenFile
from dinoport.formats.stream import Writable, dtype_called, specs, stream
from dinoport.formats.torch.storages import WRITTEN_STORAGES
from dinoport.tensor import Shape, TensorSpec

Tree: TypeAlias = Mapping[str, "Tree | int"]
"""Dicts in dicts by name, with the numbers of tensors as leaves."""


def pickle_tensor(tensor: TensorSpec) -> bytes:
    """Pickle one tensor that lies alone in the record `data/0`. Raises as `pickle_tree` does."""
    return pickled(_tensor(tensor, 0))


def pickled(value: bytes) -> bytes:
    """A whole pickle of one value."""
    return pickle.PROTO + b"\x02" + value + pickle.STOP


def pickle_tree(tree: Tree, tensors: Sequence[TensorSpec]) -> bytes:
    """Pickle dicts whose tensor number n lies alone, contiguous, in the record `data/n`.

    As torch.load reads it with `weights_only=True`: protocol 2 without memo, an OrderedDict of name →
    `torch._utils._rebuild_tensor_v2` of a storage that is named by its record, an offset of 0, shape and strides; or
    dicts of such dicts. Names of one record share its storage. Source of the layout: PyTorch's `torch/serialization.py`
    (persistent ids) and `torch/_tensor.py` (`_reduce_ex_internal`).
    Raises FolderError for a dtype that has no storage class in every version of torch.
    """
    stored = [_tensor(spec, record) for record, spec in enumerate(tensors)]
    return pickled(_dict(tree, stored))


def _dict(tree: Tree, stored: Sequence[bytes]) -> bytes:
    entries = (text(name) + (stored[at] if isinstance(at, int) else _dict(at, stored)) for name, at in tree.items())
    return _ordered_dict() + pickle.MARK + b"".join(entries) + pickle.SETITEMS


def _tensor(spec: TensorSpec, record: int) -> bytes:
    called = dtype_called(spec, WRITTEN_STORAGES, "torch files do not hold in every version of torch")
    storage = tuple_of(text("storage"), named("torch", called), text(str(record)), text("cpu"), whole(spec.size))
    shape = tuple_of(*map(whole, spec.shape))
    strides = tuple_of(*map(whole, _strides(spec.shape)))
    arguments = (storage + pickle.BINPERSID, whole(0), shape, strides, pickle.NEWFALSE, _ordered_dict())
    return named("torch._utils", "_rebuild_tensor_v2") + tuple_of(*arguments) + pickle.REDUCE


def _strides(shape: Shape) -> Shape:
    """Row-major strides in elements, where an axis of length 0 counts as 1, as in torch."""
    strides = [1]
    for length in shape[:0:-1]:
        strides.insert(0, strides[0] * max(length, 1))
    return tuple(strides[: len(shape)])


def named(module: str, name: str) -> bytes:
    """What an unpickler imports."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _ordered_dict() -> bytes:
    return named("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE


def text(value: str) -> bytes:
    data = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def whole(value: int) -> bytes:
    if value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)


def tuple_of(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


ALIGNMENT_BYTES = 64

ZIP64_FROM_BYTES = 2**30
"""From here on records get 64-bit sizes; zip demands them from 4 GiB, zipfile from 2 GiB."""

Key: TypeAlias = tuple[str, ...]
"""Where a tensor stands in a file: the keys of the dicts around it, then its own name there."""


def write_torch_file(
    path: Path,
    tensors: Sequence[Writable],
    *,
    keys: Mapping[str, Sequence[Key]] | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> WrittenFile:
    """Write `tensors` to the new file `path` as a state dict in their order, holding one block at a time.

    `keys` say for each tensor where else it is to stand, in dicts of dicts: its values are stored once. `on_bytes` is
    called with the size of each block of values. Raises FolderError where the disk refuses, and leaves no file.
    """
    announced = specs(tensors)
    pickled = pickle_tree(_tree(announced, keys), announced)
    census: dict[str, Census] = {}
    with OutputFile(path, sum(spec.size_bytes for spec in announced)) as file:
        append_archive(file, pickled, tensors, census, on_bytes)
        return file.finish(census)


def append_archive(
    file: OutputFile,
    pickled: bytes,
    tensors: Sequence[Writable],
    census: dict[str, Census],
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Add a whole archive to a file that may hold others: a pickle, and the values of tensor number n in `data/n`."""
    with ZipFile(_Forwards(file), "w", ZIP_STORED) as archive:
        start = file.size_bytes

        def write(name: str, blocks: Iterable[bytes | memoryview], *told: Any) -> None:
            _write_record(archive, name, blocks, file.size_bytes - start, *told)

        write("data.pkl", [pickled])
        write("byteorder", [b"little"])
        for number, tensor in enumerate(tensors):
            write(f"data/{number}", stream(tensor, census), tensor.target.size_bytes, on_bytes)
        write("version", [b"3\n"])
        write(".data/serialization_id", [_serialization_id(archive)])


def _tree(tensors: Sequence[TensorSpec], keys: Mapping[str, Sequence[Key]] | None) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for number, spec in enumerate(tensors):
        for *dicts, name in keys[spec.name] if keys else [(spec.name,)]:
            node = tree
            for part in dicts:
                node = node.setdefault(part, {})
            node[name] = number
    return tree


class _Forwards:
    """The file as zipfile sees it: not to be rewound, so sizes and checksums go behind each record, as in torch."""

    def __init__(self, file: OutputFile) -> None:
        self.write = file.write

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _write_record(
    archive: ZipFile,
    name: str,
    blocks: Iterable[bytes | memoryview],
    before_bytes: int,
    size_bytes: int = 0,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Add a record at a multiple of 64 bytes of an archive that has `before_bytes`."""
    info = ZipInfo(f"archive/{name}")
    info.create_system = 3  # as on Linux everywhere, so that equal tensors give equal files
    zip64 = size_bytes >= ZIP64_FROM_BYTES
    # The padding goes where torch puts it: into an extra field of the local header.
    header_bytes = 30 + len(info.filename) + (20 if zip64 else 0) + 4
    padding = -(before_bytes + header_bytes) % ALIGNMENT_BYTES
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=zip64) as record:
        info.extra = b""
        for block in blocks:
            record.write(block)
            on_bytes(len(block))


def _serialization_id(archive: ZipFile) -> bytes:
    """Forty decimal digits that depend on names and checksums alone, as torch's do (by another hash)."""
    digest = hashlib.sha256("".join(f"{info.filename} {info.CRC}\n" for info in archive.infolist()).encode())
    return f"{int(digest.hexdigest(), 16) % 10**40:040d}".encode()
