"""What torch's pickles call: tensors, parameters, containers. Each becomes data; tensors become references."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.names import short_text
from dinoport.formats.torch.dtypes import TORCH_DTYPES
from dinoport.formats.torch.pickle_globals import is_class
from dinoport.formats.torch.pickle_machine import Builder
from dinoport.formats.torch.pickle_tables import MAX_KEY_INTEGER
from dinoport.formats.torch.stand_ins import Global, Opaque
from dinoport.formats.torch.storages import DEVICE, TypedStorage, broken
from dinoport.formats.values import are_sizes, stored_tensor
from dinoport.tensor import Array, TensorRef

MAX_TENSORS = 50_000
"""In one file: a training checkpoint of a 7B model holds some five thousand. One takes 1.5 kB of memory here."""

TENSOR_CLASSES = frozenset({"torch.Tensor", "torch._tensor.Tensor"})
PARAMETER_CLASSES = frozenset({"torch.nn.parameter.Parameter", "torch.nn.Parameter"})

LAYOUTS = frozenset(
    f"torch.{name}"
    for name in ("strided", "jagged", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn")
)

SETTERS = frozenset({
    "data", "grad", "_grad", "requires_grad", "names", "real", "imag", "retains_grad", "_backward_hooks",
    "_post_accumulate_grad_hooks", "grad_dtype", "volatile", "_grad_fn",
})  # fmt: skip
"""Attributes of a tensor whose setting changes the tensor."""

OTHER_FORMS = {
    "_utils._rebuild_qtensor": 7, "_utils._rebuild_sparse_tensor": 2, "_utils._rebuild_sparse_csr_tensor": 2,
    "_utils._rebuild_nested_tensor": 4, "_utils._rebuild_wrapper_subclass": 8, "_tensor._rebuild_from_type": 4,
    "_utils._rebuild_device_tensor_from_numpy": 4, "_utils._rebuild_device_tensor_from_cpu_tensor": 4,
    "_utils._rebuild_xla_tensor": 4,
}  # fmt: skip
"""Functions of torch for tensors that are not runs of plain numbers, and how many arguments each has."""


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


class _Rebuilding:
    """The tensors of one file, as the functions in PyTorch's `torch/_utils.py` put them together; they are counted."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0

    def tensor(self, storage: object, first: int, shape: object, strides: object) -> object:
        if isinstance(storage, Opaque):
            return Opaque("torch.Tensor", (storage,), is_tensor=True)
        if not isinstance(storage, TypedStorage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor over something that is no storage")
        self._count += 1
        if self._count > MAX_TENSORS:
            raise broken(self._where, f"more than {MAX_TENSORS} tensors")
        return stored_tensor(
            "",
            storage.storage,
            storage.dtype,
            first,
            shape,
            strides,
            origin=storage.first,
            count=storage.count,
            big_endian=storage.big_endian,
        )

    def tensor_v2(
        self,
        storage: object,
        first: int,
        shape: object,
        strides: object,
        gradient: object,
        hooks: object,
        metadata: object = None,
    ) -> object:
        if metadata not in (None, {}):
            raise _lazy(self._where, metadata)
        return _with_gradient(self.tensor(storage, first, shape, strides), gradient, hooks)

    def tensor_v3(
        self,
        storage: object,
        first: int,
        shape: object,
        strides: object,
        gradient: object,
        hooks: object,
        dtype: object,
        metadata: object = None,
    ) -> object:
        if isinstance(storage, Opaque) or not isinstance(dtype, Global) or dtype.name not in TORCH_DTYPES:
            return Opaque("torch.Tensor", (storage, dtype), is_tensor=True)
        if not isinstance(storage, TypedStorage):
            raise ValueError("a tensor over something that is no storage")
        own = TORCH_DTYPES[dtype.name]
        if storage.dtype != own and (storage.big_endian or storage.first):
            raise broken(self._where, f"a tensor of {own} over a storage of {storage.dtype} in another byte order")
        typed = TypedStorage(storage.storage, own, storage.storage.size_bytes // own.itemsize, storage.big_endian)
        return self.tensor_v2(typed, first, shape, strides, gradient, hooks, metadata)

    def meta(self, dtype: object, shape: object, strides: object, gradient: object) -> object:
        if not isinstance(dtype, Global) or not isinstance(shape, tuple) or not are_sizes(shape):
            raise ValueError("a meta tensor without dtype or shape")
        return TensorRef("", TORCH_DTYPES[dtype.name], shape, NoValues(self._where))

    def parameter(self, data: object = None, gradient: object = True) -> object:
        if isinstance(data, Opaque):
            return Opaque(PARAMETER, (data,), is_tensor=True)
        if not isinstance(data, TensorRef):
            raise ValueError("a parameter of something that is no tensor")
        return _with_gradient(data, gradient, None)

    def parameter_with_state(self, data: object, gradient: object, hooks: object, state: object) -> object:
        return self._with_attributes(_with_gradient(self.parameter(data, gradient), gradient, hooks), state)

    def subclass(self, function: object, kind: object, args: object, state: object) -> object:
        """A tensor that got attributes, or one of another class, which may hold its values in another way."""
        own = self.functions().get(function.name) if isinstance(function, Global) else None
        made = own(*args) if own and isinstance(args, tuple) else None
        if not isinstance(kind, Global) or kind.name not in TENSOR_CLASSES | PARAMETER_CLASSES or made is None:
            name = kind.name if isinstance(kind, Global) else "torch.Tensor"
            return Opaque(name, (function, args, state), is_tensor=True)
        return self._with_attributes(made, state)

    def _with_attributes(self, tensor: object, state: object) -> object:
        """The tensor itself, where its attributes are plain and none of them changes it."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if part is not None and not (isinstance(part, dict) and all(map(_is_harmless, part, part.values()))):
                names = short_text(list(part) if isinstance(part, dict) else part)
                raise broken(self._where, f"a tensor whose attributes are set, which may change it: {names}")
        return tensor

    def functions(self) -> dict[str, Builder]:
        return {
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor_v2,
            "torch._utils._rebuild_tensor_v3": self.tensor_v3,
            "torch._utils._rebuild_parameter": lambda data, gradient, hooks: _with_gradient(
                self.parameter(data, gradient), gradient, hooks
            ),
            "torch._utils._rebuild_parameter_with_state": self.parameter_with_state,
            "torch._utils._rebuild_meta_tensor_no_storage": self.meta,
        }


PARAMETER = "torch.nn.parameter.Parameter"


def _is_harmless(name: object, value: object) -> bool:
    plain = value is None or isinstance(value, (bool, int, float, str))
    return isinstance(name, str) and name.isidentifier() and not name.startswith("__") and name not in SETTERS and plain


def _with_gradient(tensor: object, gradient: object, hooks: object) -> object:
    """The tensor itself. Raises ValueError for what torch refuses: whole numbers have no gradient."""
    if type(gradient) is not bool or not (hooks is None or isinstance(hooks, dict)):
        raise ValueError("a gradient or hooks that are none")
    if gradient and isinstance(tensor, TensorRef) and not (tensor.is_float or tensor.dtype.kind in "cV"):
        raise ValueError("a gradient of whole numbers")
    return tensor


def builders(where: str) -> dict[str, Builder]:
    """The closed table of calls that mean data, by dotted name. For one file: tensors are counted."""
    rebuilding = _Rebuilding(where)

    def nested(*args: object) -> object:
        raise CheckpointError(
            f"{where} holds its tensors as pickles within a pickle",
            expected="tensors beside the pickle, as torch.save writes them",
            found="torch.storage._load_from_bytes",
            cause="pickle.dump instead of torch.save",
            next_step="load it where you trust it, and save the state dict with torch.save",
        )

    def other_form(name: str, arguments: int) -> Builder:
        def made(*args: object) -> Opaque:
            if len(args) != arguments:
                raise ValueError("too few or too many arguments")
            return Opaque(name, args, is_tensor=True)

        return made

    return {
        **rebuilding.functions(),
        **{f"torch.{name}": other_form(f"torch.{name}", count) for name, count in OTHER_FORMS.items()},
        **dict.fromkeys(PARAMETER_CLASSES, rebuilding.parameter),
        "torch._tensor._rebuild_from_type_v2": rebuilding.subclass,
        "torch.device": _device,
        "torch.serialization._get_layout": _layout,
        "torch.storage._load_from_bytes": nested,
        "torch.Size": _size,
        "collections.OrderedDict": _ordered,
        "_collections.OrderedDict": _ordered,
        "collections.defaultdict": _default,
        "collections.Counter": _counter,
        "_codecs.encode": _encoded,
        "builtins.dict": lambda pairs=(): dict(_ordered(pairs)),
        "builtins.list": lambda values=(): list(_sequence(values)),
        "builtins.tuple": lambda values=(): tuple(_sequence(values)),
        "builtins.set": lambda values=(): set(_hashable(values)),
        "builtins.frozenset": lambda values=(): frozenset(_hashable(values)),
        "builtins.bytes": lambda *args: _bytes(*args),
        "builtins.bytearray": lambda *args: bytearray(_bytes(*args)),
        "builtins.complex": _complex,
        "builtins.object": lambda: Opaque("builtins.object"),
        "numpy.dtype": lambda text, *rest: Opaque("numpy.dtype", (text,)),
        "numpy.core.multiarray.scalar": _numpy_scalar,
        "numpy._core.multiarray.scalar": _numpy_scalar,
    }


def _sequence(values: object) -> Sequence[object]:
    if not isinstance(values, (list, tuple)):
        raise ValueError("items that are no list")
    return values


def _hashable(values: object) -> Sequence[object]:
    """Items of a set. Tuples as members occur nowhere, and their hashes can be made to collide."""
    for value in _sequence(values):
        if not (value is None or isinstance(value, (str, int, float, bytes))) or _is_large(value):
            raise ValueError("a member of a set that is neither text nor a number")
    return _sequence(values)


def _is_large(value: object) -> bool:
    return isinstance(value, int) and abs(value) > MAX_KEY_INTEGER


def _device(kind: str, index: int = 0) -> Opaque:
    if not DEVICE.fullmatch(kind) and kind != "meta":
        raise ValueError("a device that is none")
    return Opaque("torch.device", (kind, index))


def _layout(name: str) -> Opaque:
    if name not in LAYOUTS:
        raise ValueError("a layout that is none")
    return Opaque("torch.layout", (name,))


def _size(sizes: object = ()) -> tuple[object, ...]:
    found = tuple(_sequence(sizes))
    if not are_sizes(found):
        raise ValueError("sizes that are none")
    return found


def _ordered(pairs: object = ()) -> OrderedDict[object, object]:
    """A dict from another, or from pairs as Python 2 wrote them."""
    if isinstance(pairs, dict):
        return OrderedDict(pairs)
    found: OrderedDict[object, object] = OrderedDict()
    for pair in _sequence(pairs):
        key, value = _sequence(pair)
        if not isinstance(key, (str, int)) or _is_large(key):
            raise ValueError("a key that is neither text nor a number")
        found[key] = value
    return found


def _default(factory: object = None, pairs: object = ()) -> OrderedDict[object, object]:
    if factory is not None and not (isinstance(factory, Global) and _is_callable(factory.name)):
        raise ValueError("a factory that cannot be called")
    return _ordered(pairs)


def _is_callable(name: str) -> bool:
    return is_class(name) and not name.endswith("Storage")


def _counter(counts: object = None) -> OrderedDict[object, object]:
    """A Counter of a dict; that of a list would count what is in it."""
    if counts is not None and not isinstance(counts, dict):
        raise ValueError("counts that are no dict")
    return OrderedDict(counts or {})


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes, as protocol 2 writes them."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an encoding that pickle does not use")
    return text.encode("latin-1")


def _bytes(data: object = b"", encoding: str | None = None) -> bytes:
    """Bytes from bytes, or from text, as protocol 2 writes a bytearray; never from a number, which is a size."""
    if isinstance(data, str) and encoding == "latin-1":
        return data.encode("latin-1")
    if not isinstance(data, (bytes, bytearray)) or encoding is not None:
        raise ValueError("bytes of something else")
    return bytes(data)


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
