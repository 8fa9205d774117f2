"""The pickle of state dicts, as torch.load reads it with `weights_only=True`, made without torch.

Protocol 2, as torch.save writes it, but without memo: an OrderedDict of name → `torch._utils._rebuild_tensor_v2` of a
storage that is named by its record, an offset of 0, shape and strides; or dicts of such dicts. Names of one record
share its storage, in the file and when it is loaded. Source of the layout: PyTorch's
`torch/serialization.py` (persistent ids) and `torch/_tensor.py` (`_reduce_ex_internal`).
"""

import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dinoport.errors import FolderError
from dinoport.formats.torch.dtypes import WRITTEN_STORAGES
from dinoport.tensor import Shape, TensorSpec, dtype_name

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

    Raises FolderError for a dtype that has no storage class in every version of torch.
    """
    stored = [_tensor(spec, record) for record, spec in enumerate(tensors)]
    return pickled(_dict(tree, stored))


def _dict(tree: Tree, stored: Sequence[bytes]) -> bytes:
    entries = (text(name) + (stored[at] if isinstance(at, int) else _dict(at, stored)) for name, at in tree.items())
    return _ordered_dict() + pickle.MARK + b"".join(entries) + pickle.SETITEMS


def _tensor(spec: TensorSpec, record: int) -> bytes:
    if spec.dtype not in WRITTEN_STORAGES:
        raise FolderError(
            f"{spec.name} has a dtype that torch files do not hold in every version of torch",
            expected=", ".join(dtype_name(dtype) for dtype in WRITTEN_STORAGES),
            found=dtype_name(spec.dtype),
            next_step="store it as one of these in the source",
        )
    storage_class = named("torch", WRITTEN_STORAGES[spec.dtype])
    storage = tuple_of(text("storage"), storage_class, text(str(record)), text("cpu"), whole(spec.size))
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
