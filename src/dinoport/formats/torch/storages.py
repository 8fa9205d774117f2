"""What a torch pickle refers to outside itself, the storages of its tensors, and what may change them as it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.damage import damaged
from dinoport.files.names import short_text
from dinoport.formats.storage import Storage
from dinoport.formats.torch.stand_ins import Global, Opaque, reached
from dinoport.formats.values import StoredValues
from dinoport.tensor import BFLOAT16, TensorRef

STORAGE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("f8"),
    "FloatStorage": np.dtype("f4"),
    "HalfStorage": np.dtype("f2"),
    "BFloat16Storage": BFLOAT16,
    "LongStorage": np.dtype("i8"),
    "IntStorage": np.dtype("i4"),
    "ShortStorage": np.dtype("i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("c8"),
    "ComplexDoubleStorage": np.dtype("c16"),
}
"""Storages with a type of their own."""

WRITTEN_STORAGES = {dtype: name for name, dtype in STORAGE_DTYPES.items() if dtype.kind != "c"}
"""What the writer names: storages that every version of torch has."""

UNTYPED = "UntypedStorage"
"""A storage of bytes, whose tensors say which dtype they have."""

TORCH_DTYPES: Mapping[str, np.dtype[Any]] = {
    "torch.float64": np.dtype("f8"), "torch.double": np.dtype("f8"),
    "torch.float32": np.dtype("f4"), "torch.float": np.dtype("f4"),
    "torch.float16": np.dtype("f2"), "torch.half": np.dtype("f2"),
    "torch.bfloat16": BFLOAT16,
    "torch.float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn), "torch.float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "torch.int64": np.dtype("i8"), "torch.int32": np.dtype("i4"), "torch.int16": np.dtype("i2"),
    "torch.int8": np.dtype("i1"), "torch.uint8": np.dtype("u1"), "torch.bool": np.dtype("?"),
    "torch.uint16": np.dtype("u2"), "torch.uint32": np.dtype("u4"), "torch.uint64": np.dtype("u8"),
    "torch.complex64": np.dtype("c8"), "torch.complex128": np.dtype("c16"),
}  # fmt: skip
"""Dtypes, by the names under which a pickle or a checkpoint's metadata mentions them."""


DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hpu|npu|xla|mtia|musa)(:\d{1,3})?")
"""Where a storage lay when it was saved. On "meta" torch leaves the values out; a name it does not know it refuses."""


QUANTISED = frozenset(f"torch.{kind}Storage" for kind in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4"))
"""Storages whose values mean nothing without the scales beside them."""


@dataclass(frozen=True, eq=False, slots=True)
class TypedStorage:
    """A storage as a pickle hands it to its tensors: with the dtype of its elements."""

    storage: Storage
    dtype: np.dtype[Any]
    count: int
    big_endian: bool = False


@dataclass(frozen=True, slots=True)
class StorageKey:
    """What a pickle says of a storage that lies outside it: name, dtype of its elements, and their number."""

    name: str
    dtype: np.dtype[Any]
    count: int

    @property
    def size_bytes(self) -> int:
        return self.count * self.dtype.itemsize

    @classmethod
    def of(cls, where: str, key: object, parts: int, *, untyped: bool) -> StorageKey:
        """From the persistent id that torch.save writes, of so many parts. Raises CheckpointError for any other."""
        if not isinstance(key, tuple) or len(key) != parts or key[0] != "storage" or type(key[1]) is not Global:
            raise broken(where, f"a reference that names no storage: {short_text(key)}")
        kind, name, device, count = key[1].name, *key[2:5]
        dtype = _dtype(kind, untyped=untyped)
        if kind in QUANTISED:
            raise CheckpointError(
                f"{where} holds quantised tensors",
                expected="weights as numbers in floating point",
                found=f"a storage of the type {kind}",
                cause="a model that was saved after torch.ao quantised it",
                next_step="give the weights as they were before they were quantised",
            )
        if dtype is None:
            raise broken(where, f"a storage of the unknown type {kind[:100]}")
        if type(name) is not str or type(count) is not int or not 0 <= count < 2**63:
            raise broken(where, f"a storage without a name or a size: {short_text(key)}")
        if type(device) is not str or not DEVICE.fullmatch(device):
            raise broken(where, f"a storage on the device {short_text(device)}")
        return cls(name, dtype, count)

    def checked(self, where: str, storage: TypedStorage) -> TypedStorage:
        """The storage that was found under this name, unless it was named before as another."""
        if storage.dtype != self.dtype or storage.count != self.count:
            raise broken(where, f"a storage {self.name[:100]} that is declared twice, and differently")
        return storage


def _dtype(kind: str, *, untyped: bool) -> np.dtype[Any] | None:
    module, _, name = kind.rpartition(".")
    if untyped and kind in (f"torch.{UNTYPED}", f"torch.storage.{UNTYPED}"):
        return np.dtype("u1")
    return STORAGE_DTYPES.get(name) if module in ("torch", "torch.cuda") else None


class UnknownSteps:
    """Each may change whatever can be reached from its roots, when the whole pickle has been read."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, tuple[object, ...]]] = []

    def __iter__(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        return iter(self._steps)

    def note(self, step: str, *roots: object) -> None:
        self._steps.append((step, roots))

    def settle(self) -> None:
        """Note at each storage which step may have changed it."""
        seen: set[int] = set()
        for step, roots in self._steps:
            for node in reached(roots, seen):
                if storage := _storage_of(node):
                    storage.doubt = storage.doubt or step


def is_plain(value: object) -> bool:
    """Whether neither tensors nor objects can be reached from a value."""
    return not any(isinstance(node, Opaque) or _storage_of(node) for node in reached([value], set()))


def _storage_of(node: object) -> Storage | None:
    if isinstance(node, TensorRef):
        node = node.values
    return node.storage if isinstance(node, (StoredValues, TypedStorage)) else None


def broken(where: str, found: str) -> CheckpointError:
    return damaged(f"{where} is not a sound torch file", found)
