"""What torch's pickles call: tensors, parameters, containers. Each becomes data; tensors become references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.names import MAX_NAME_CHARACTERS
from dinoport.formats.storage import Storage
from dinoport.formats.torch.pickle_keys import MAX_KEY_INTEGER
from dinoport.formats.torch.pickle_machine import Builder
from dinoport.formats.torch.stand_ins import Global, Opaque, short_text
from dinoport.formats.values import are_sizes, stored_tensor
from dinoport.tensor import Array, TensorRef

STORAGE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("f8"),
    "FloatStorage": np.dtype("f4"),
    "HalfStorage": np.dtype("f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("i8"),
    "IntStorage": np.dtype("i4"),
    "ShortStorage": np.dtype("i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("c8"),
    "ComplexDoubleStorage": np.dtype("c16"),
    "UntypedStorage": np.dtype("u1"),
}
"""torch's typed storages, by the names in its pickles."""

TORCH_DTYPES: Mapping[str, np.dtype[Any]] = {
    "torch.float64": np.dtype("f8"), "torch.double": np.dtype("f8"),
    "torch.float32": np.dtype("f4"), "torch.float": np.dtype("f4"),
    "torch.float16": np.dtype("f2"), "torch.half": np.dtype("f2"),
    "torch.bfloat16": np.dtype(ml_dtypes.bfloat16),
    "torch.float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn), "torch.float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "torch.int64": np.dtype("i8"), "torch.int32": np.dtype("i4"), "torch.int16": np.dtype("i2"),
    "torch.int8": np.dtype("i1"), "torch.uint8": np.dtype("u1"), "torch.bool": np.dtype("?"),
    "torch.uint16": np.dtype("u2"), "torch.uint32": np.dtype("u4"), "torch.uint64": np.dtype("u8"),
    "torch.complex64": np.dtype("c8"), "torch.complex128": np.dtype("c16"),
}  # fmt: skip
"""torch's dtypes, by the names under which a pickle or a checkpoint's metadata mentions them."""

MAX_TENSORS = 50_000
"""In one file: a training checkpoint of a 7B model holds some five thousand. One takes 1.5 kB of memory here."""

MAX_MODULE_DEPTH = 64
"""Modules in modules of a pickled nn.Module; a ViT has five."""


@dataclass(frozen=True, eq=False, slots=True)
class TypedStorage:
    """A storage as a pickle hands it to its tensors: with the dtype of its elements."""

    storage: Storage
    dtype: np.dtype[Any]
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
    def of(cls, where: str, key: object) -> StorageKey:
        """From the persistent id that torch.save writes. Raises CheckpointError for any other."""
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage" or type(key[1]) is not Global:
            raise _broken(where, f"a reference that names no storage: {short_text(key)}")
        kind, name, count = key[1].name, key[2], key[4]
        dtype = STORAGE_DTYPES.get(kind.rpartition(".")[2]) if kind.startswith("torch.") else None
        if dtype is None:
            raise _broken(where, f"a storage of the unknown type {kind[:100]}")
        if not isinstance(name, (str, int)) or type(count) is not int or not 0 <= count < 2**63:
            raise _broken(where, f"a storage without a name or a size: {short_text(key)}")
        return cls(str(name), dtype, count)

    def checked(self, where: str, storage: TypedStorage) -> TypedStorage:
        """The storage that was found under this name, unless it was named before as another."""
        if storage.dtype != self.dtype or storage.storage.size_bytes != self.size_bytes:
            raise _broken(where, f"a storage {self.name[:100]} that is declared twice, and differently")
        return storage


def _broken(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is not a sound torch file",
        found=found,
        cause="a damaged file, or one that was made to mislead",
        next_step="fetch the file again from where it came",
    )


def _lazy(where: str, metadata: object) -> CheckpointError:
    """For torch's negative and conjugate bits, and what other metadata a tensor may come with."""
    return CheckpointError(
        f"{where} holds a tensor whose stored values are not its own: torch changes them whenever it reads them",
        expected="values as they lie in the file",
        found=f"the metadata {short_text(metadata)}",
        cause="a lazy view, such as the imaginary part of a conjugate, saved before it was computed",
        next_step="load it where you trust it, and save each such tensor as tensor.resolve_conj().resolve_neg()",
    )


@dataclass(frozen=True)
class NoValues:
    """The values of a tensor that was saved without any: one on torch's meta device."""

    where: str

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        raise CheckpointError(
            f"{self.where} holds a tensor without data",
            found="a tensor on the meta device: a name and a shape only",
            cause="the model was saved before its weights were loaded",
            next_step="load the weights, then save the state dict again",
        )


def builders(where: str) -> dict[str, Builder]:
    """The closed table of calls that mean data, by dotted name. For one file: tensors are counted."""
    count = 0

    def tensor(storage: object, first: int, shape: object, strides: object, *rest: object) -> object:
        if isinstance(storage, Opaque):
            return Opaque("torch.Tensor")
        if not isinstance(storage, TypedStorage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor over something that is no storage")
        nonlocal count
        count += 1
        if count > MAX_TENSORS:
            raise _broken(where, f"more than {MAX_TENSORS} tensors")
        if len(rest) > 2 and rest[2]:
            raise _lazy(where, rest[2])
        return stored_tensor("", storage.storage, storage.dtype, first, shape, strides, big_endian=storage.big_endian)

    def tensor_v3(
        storage: object,
        first: int,
        shape: object,
        strides: object,
        grad: object,
        hooks: object,
        dtype: object,
        *rest: object,
    ) -> object:
        if not isinstance(storage, TypedStorage) or not isinstance(dtype, Global):
            raise ValueError("a tensor over something that is no storage")
        typed = TypedStorage(storage.storage, TORCH_DTYPES[dtype.name], storage.big_endian)
        return tensor(typed, first, shape, strides, grad, hooks, *rest)

    def meta(dtype: object, shape: object, strides: object, grad: object = None) -> object:
        if not isinstance(dtype, Global) or not isinstance(shape, tuple) or not are_sizes(shape):
            raise ValueError("a meta tensor without dtype or shape")
        return TensorRef("", TORCH_DTYPES[dtype.name], shape, NoValues(where))

    def nested(*args: object) -> object:
        raise CheckpointError(
            f"{where} holds its tensors as pickles within a pickle",
            expected="tensors beside the pickle, as torch.save writes them",
            found="torch.storage._load_from_bytes",
            cause="pickle.dump instead of torch.save",
            next_step="load it where you trust it, and save the state dict with torch.save",
        )

    return {
        "torch.storage._load_from_bytes": nested,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": tensor_v3,
        "torch._utils._rebuild_parameter": lambda data, *rest: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *rest: data,
        "torch._tensor._rebuild_from_type_v2": lambda function, kind, args, state: (
            tensor(*args)
            if isinstance(function, Global) and function.name == "torch._utils._rebuild_tensor_v2"
            else Opaque(kind.name if isinstance(kind, Global) else "torch.Tensor", (args,))
        ),
        "torch._utils._rebuild_meta_tensor_no_storage": meta,
        "torch.Size": lambda sizes=(): tuple(_sequence(sizes)),
        "collections.OrderedDict": _dict,
        "_collections.OrderedDict": _dict,
        "collections.defaultdict": lambda factory=None, pairs=(): _dict(pairs),
        "collections.Counter": _dict,
        "_codecs.encode": _encoded,
        "builtins.set": lambda values=(): list(_sequence(values)),
        "builtins.frozenset": lambda values=(): list(_sequence(values)),
        "builtins.bytes": _bytes,
        "builtins.bytearray": _bytes,
        "builtins.complex": _complex,
        "numpy.dtype": lambda text, *rest: Opaque("numpy.dtype", (text,)),
        "numpy.core.multiarray.scalar": _numpy_scalar,
        "numpy._core.multiarray.scalar": _numpy_scalar,
    }


def _sequence(values: object) -> Sequence[object]:
    if not isinstance(values, (list, tuple)):
        raise ValueError("items that are no list")
    return values


def _dict(pairs: object = ()) -> dict[object, object]:
    """A dict from another, or from pairs as Python 2 wrote them."""
    if isinstance(pairs, dict):
        return dict(pairs)
    found: dict[object, object] = {}
    for pair in _sequence(pairs):
        key, value = _sequence(pair)
        if not isinstance(key, (str, int)) or abs(key if isinstance(key, int) else 0) > MAX_KEY_INTEGER:
            raise ValueError("a key that is neither text nor a number")
        found[key] = value
    return found


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, as protocol 2 writes them."""
    if encoding != "latin1":
        raise ValueError("bytes in an encoding that pickle does not use")
    return text.encode("latin-1")


def _bytes(data: object = b"", encoding: str = "latin-1") -> bytes:
    """Bytes from bytes, or from text, as protocol 2 writes a bytearray; never from a number, which is a size."""
    if isinstance(data, str) and encoding == "latin-1":
        return data.encode("latin-1")
    if not isinstance(data, bytes):
        raise ValueError("bytes of something else")
    return data


def _complex(real: object, imaginary: object = 0.0) -> complex:
    if not isinstance(real, (int, float)) or not isinstance(imaginary, (int, float)):
        raise ValueError("a complex number of something else")
    return complex(real, imaginary)


def _numpy_scalar(dtype: object, data: object = b"") -> object:
    """A NumPy scalar as a Python number, without making an array of what the pickle says."""
    text = dtype.args[0] if isinstance(dtype, Opaque) and dtype.args else None
    if not isinstance(text, str) or not isinstance(data, (bytes, str)):
        return Opaque("numpy.scalar", (data,))
    state = dtype.state if isinstance(dtype, Opaque) else None
    order = ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if text not in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1") or len(raw) != int(text[1]):
        return Opaque("numpy.scalar", (text, raw))
    return np.frombuffer(raw, dtype=np.dtype(order + text))[0].item()


def module_state_dict(module: Opaque) -> dict[str, TensorRef]:
    """The tensors of a pickled nn.Module under the names that its state_dict would have; empty for other objects.

    Raises ValueError where modules nest or share more than modules do.
    """
    found: dict[str, TensorRef] = {}
    pending: list[tuple[str, object, int]] = [("", module, 0)]
    steps = 0
    while pending:
        prefix, node, depth = pending.pop()
        state = node.state if isinstance(node, Opaque) else None
        if not isinstance(state, dict):
            continue
        for kind in ("_parameters", "_buffers", "_modules"):
            children = state.get(kind)
            if not isinstance(children, dict):
                continue
            steps += len(children)
            if steps > MAX_TENSORS or depth > MAX_MODULE_DEPTH or len(prefix) > MAX_NAME_CHARACTERS:
                raise ValueError("modules that nest too deep or share too much")
            named = [(prefix + name, child) for name, child in children.items() if isinstance(name, str)]
            if kind == "_modules":
                pending += [(f"{name}.", child, depth + 1) for name, child in reversed(named)]
            else:
                found |= {name: child for name, child in named if isinstance(child, TensorRef)}
    return found
