"""What torch's pickles call: tensors, parameters, containers. Each becomes data; tensors become references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from dinoport.checkpoints.inert_pickle import Builder, Global, Opaque
from dinoport.checkpoints.storage import Storage
from dinoport.checkpoints.values import stored_tensor
from dinoport.errors import CheckpointError
from dinoport.tensor import Array, Shape, TensorRef

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

MAX_MODULE_DEPTH = 64
"""Modules in modules of a pickled nn.Module; a ViT has five."""


@dataclass(frozen=True, eq=False)
class TypedStorage:
    """A storage as a pickle hands it to its tensors: with the dtype of its elements."""

    storage: Storage
    dtype: np.dtype[Any]
    big_endian: bool = False


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
    """The closed table of calls that mean data, by dotted name."""

    def tensor(storage: object, first: int, shape: object, strides: object, *rest: object) -> object:
        if isinstance(storage, Opaque):
            return Opaque("torch.Tensor")
        if not isinstance(storage, TypedStorage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor over something that is no storage")
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
        return tensor(typed, first, shape, strides)

    def meta(dtype: object, shape: object, strides: object, grad: object = None) -> object:
        if not isinstance(dtype, Global) or not isinstance(shape, tuple):
            raise ValueError("a meta tensor without dtype or shape")
        return TensorRef("", TORCH_DTYPES[dtype.name], _sizes(shape), NoValues(where))

    return {
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
        "torch.Size": lambda sizes=(): tuple(sizes),
        "collections.OrderedDict": lambda pairs=(): dict(pairs),
        "_collections.OrderedDict": lambda pairs=(): dict(pairs),
        "collections.defaultdict": lambda factory=None, pairs=(): dict(pairs),
        "collections.Counter": lambda pairs=(): dict(pairs),
        "_codecs.encode": lambda text, encoding="utf-8": text.encode("latin-1" if encoding == "latin1" else "utf-8"),
        "builtins.set": lambda values=(): list(values),
        "__builtin__.set": lambda values=(): list(values),
        "builtins.bytearray": lambda *args: bytearray() if not args else Opaque("builtins.bytearray", args),
        "builtins.complex": lambda real, imaginary=0.0: complex(float(real), float(imaginary)),
        "numpy.dtype": lambda text, *rest: Opaque("numpy.dtype", (text,)),
        "numpy.core.multiarray.scalar": _numpy_scalar,
        "numpy._core.multiarray.scalar": _numpy_scalar,
    }


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


def _sizes(shape: tuple[object, ...]) -> Shape:
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError("a shape that is no shape")
    return tuple(length for length in shape if isinstance(length, int))


def module_state_dict(module: Opaque) -> dict[str, TensorRef]:
    """The tensors of a pickled nn.Module under the names that its state_dict would have; empty for other objects."""
    found: dict[str, TensorRef] = {}
    pending: list[tuple[str, object, int]] = [("", module, 0)]
    seen: set[int] = set()
    while pending:
        prefix, node, depth = pending.pop()
        state = node.state if isinstance(node, Opaque) else None
        if not isinstance(state, dict) or id(node) in seen or depth > MAX_MODULE_DEPTH:
            continue
        seen.add(id(node))
        for kind in ("_parameters", "_buffers"):
            tensors = state.get(kind)
            if isinstance(tensors, dict):
                found |= {f"{prefix}{name}": ref for name, ref in tensors.items() if isinstance(ref, TensorRef)}
        modules = state.get("_modules")
        if isinstance(modules, dict):
            pending += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(modules.items())]
    return found
