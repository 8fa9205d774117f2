"""How torch puts tensors together again, as references: the functions of `torch/_utils.py` and `torch/_tensor.py`."""

from collections.abc import Iterator
from dataclasses import dataclass

from dinoport.errors import CheckpointError
from dinoport.files.names import short_text
from dinoport.formats.torch.pickle_objects import Builder
from dinoport.formats.torch.stand_ins import Global, Opaque
from dinoport.formats.torch.storages import TORCH_DTYPES, TypedStorage, broken
from dinoport.formats.values import is_shape, stored_tensor
from dinoport.tensor import Array, TensorRef

MAX_TENSORS = 50_000
"""In one file: a training checkpoint of a 7B model holds some five thousand. One takes 1.5 kB of memory here."""

TENSOR_CLASSES = frozenset({"torch.Tensor", "torch._tensor.Tensor"})
PARAMETER_CLASSES = frozenset({"torch.nn.parameter.Parameter", "torch.nn.Parameter"})

WRAPPER_SUBCLASS = Global("torch._utils._rebuild_wrapper_subclass")
SHARDED_TENSOR = Global("torch.distributed._shard.sharded_tensor.api.ShardedTensor")
"""Of FSDP. It has no values of its own, and keeps the shards of its state as they are: what else views their storages,
as the parameters of a unit do, is not changed."""

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


class Rebuilding:
    """The tensors of one file, as the functions in PyTorch's `torch/_utils.py` put them together; they are counted."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0

    def tensor(self, storage: object, first: int, shape: object, strides: object) -> object:
        if isinstance(storage, Opaque):
            return Opaque("torch.Tensor", (storage,), is_tensor=True)
        if not isinstance(storage, TypedStorage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor over something that is not a storage")
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
            raise ValueError("a tensor over something that is not a storage")
        own = TORCH_DTYPES[dtype.name]
        if storage.dtype != own and storage.big_endian:
            raise broken(self._where, f"a tensor of {own} over a storage of {storage.dtype} in another byte order")
        typed = TypedStorage(storage.storage, own, storage.storage.size_bytes // own.itemsize, storage.big_endian)
        return self.tensor_v2(typed, first, shape, strides, gradient, hooks, metadata)

    def meta(self, dtype: object, shape: object, strides: object, gradient: object) -> object:
        if not isinstance(dtype, Global) or not isinstance(shape, tuple) or not is_shape(shape):
            raise ValueError("a meta tensor without dtype or shape")
        return TensorRef("", TORCH_DTYPES[dtype.name], shape, NoValues(self._where))

    def parameter(self, data: object = None, gradient: object = True) -> object:
        if isinstance(data, Opaque):
            return Opaque(PARAMETER, (data,), is_tensor=True)
        if not isinstance(data, TensorRef):
            raise ValueError("a parameter of something that is not a tensor")
        return _with_gradient(data, gradient, None)

    def parameter_with_state(self, data: object, gradient: object, hooks: object, state: object) -> object:
        return self._with_attributes(_with_gradient(self.parameter(data, gradient), gradient, hooks), state)

    def subclass(self, function: object, kind: object, args: object, state: object) -> object:
        """A tensor that got attributes, or one of another class, which may hold its values in another way."""
        if (function, kind) == (WRAPPER_SUBCLASS, SHARDED_TENSOR) and isinstance(args, tuple) and args[:1] == (kind,):
            return Opaque(SHARDED_TENSOR.name, state=state, is_tensor=True)
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
            if part is not None and not (isinstance(part, dict) and all(map(is_harmless, part, part.values()))):
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


def is_harmless(name: object, value: object) -> bool:
    plain = value is None or isinstance(value, (bool, int, float, str))
    return isinstance(name, str) and name.isidentifier() and not name.startswith("__") and name not in SETTERS and plain


def _with_gradient(tensor: object, gradient: object, hooks: object) -> object:
    """The tensor itself. Raises ValueError for what torch refuses: whole numbers have no gradient."""
    if type(gradient) is not bool or not (hooks is None or isinstance(hooks, dict)):
        raise ValueError("a wrong gradient, or wrong hooks")
    if gradient and isinstance(tensor, TensorRef) and not (tensor.is_float or tensor.dtype.kind in "cV"):
        raise ValueError("a gradient of whole numbers")
    return tensor
