"""The pickle of state dicts, as torch.load reads it with `weights_only=True`, made without torch.

Protocol 2, as torch.save writes it, but without memo: an OrderedDict of name → `torch._utils._rebuild_tensor_v2` of a
storage that is named by its record, an offset of 0, shape and strides; or dicts of such dicts. Names of one record
share its storage, in the file and when it is loaded. Source of the layout: PyTorch's
`torch/serialization.py` (persistent ids) and `torch/_tensor.py` (`_reduce_ex_internal`).
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dinoport.errors import FolderError
from dinoport.formats.torch.dtypes import WRITTEN_STORAGES
from dinoport.tensor import Shape, TensorSpec, dtype_name

Tree: TypeAlias = Mapping[str, "Tree | int"]
"""Dicts in dicts by name, with the numbers of tensors as leaves."""


def pickle_state_dict(tensors: Sequence[TensorSpec]) -> bytes:
    """Pickle the state dict of these tensors, as `pickle_tree` does."""
    return pickle_tree({spec.name: record for record, spec in enumerate(tensors)}, tensors)


def pickle_tree(tree: Tree, tensors: Sequence[TensorSpec]) -> bytes:
    """Pickle dicts whose tensor number n lies alone, contiguous, in the record `data/n`.

    Raises FolderError for a dtype that has no storage class in every version of torch.
    """
    stored = [_tensor(spec, record) for record, spec in enumerate(tensors)]
    return pickle.PROTO + b"\x02" + _dict(tree, stored) + pickle.STOP


def _dict(tree: Tree, stored: Sequence[bytes]) -> bytes:
    entries = (_text(name) + (stored[at] if isinstance(at, int) else _dict(at, stored)) for name, at in tree.items())
    return _ordered_dict() + pickle.MARK + b"".join(entries) + pickle.SETITEMS


def _tensor(spec: TensorSpec, record: int) -> bytes:
    if spec.dtype not in WRITTEN_STORAGES:
        raise FolderError(
            f"{spec.name} has a dtype that torch files do not hold in every version of torch",
            expected=", ".join(dtype_name(dtype) for dtype in WRITTEN_STORAGES),
            found=dtype_name(spec.dtype),
            next_step="store it as one of these in the source",
        )
    storage_class = _name("torch", WRITTEN_STORAGES[spec.dtype])
    storage = _tuple(_text("storage"), storage_class, _text(str(record)), _text("cpu"), _int(spec.size))
    shape = _tuple(*map(_int, spec.shape))
    strides = _tuple(*map(_int, _strides(spec.shape)))
    arguments = (storage + pickle.BINPERSID, _int(0), shape, strides, pickle.NEWFALSE, _ordered_dict())
    return _name("torch._utils", "_rebuild_tensor_v2") + _tuple(*arguments) + pickle.REDUCE


def _strides(shape: Shape) -> Shape:
    """Row-major strides in elements, where an axis of length 0 counts as 1, as in torch."""
    strides = [1]
    for length in shape[:0:-1]:
        strides.insert(0, strides[0] * max(length, 1))
    return tuple(strides[: len(shape)])


def _name(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _ordered_dict() -> bytes:
    return _name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE


def _text(text: str) -> bytes:
    data = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    if value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE
