"""What torch's pickles call: tensors, parameters, containers. Each becomes data; tensors become references."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.formats.torch.pickle_globals import is_class
from dinoport.formats.torch.pickle_machine import MAX_KEY_INTEGER
from dinoport.formats.torch.pickle_objects import Builder
from dinoport.formats.torch.rebuilding import OTHER_FORMS, PARAMETER_CLASSES, Rebuilding
from dinoport.formats.torch.stand_ins import Global, Opaque
from dinoport.formats.torch.storages import DEVICE
from dinoport.formats.values import are_sizes

LAYOUTS = frozenset(
    f"torch.{name}"
    for name in ("strided", "jagged", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn")
)


def builders(where: str) -> dict[str, Builder]:
    """The closed table of calls that mean data, by dotted name. For one file: tensors are counted."""
    rebuilding = Rebuilding(where)

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
        raise ValueError("items that are not a list")
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
        raise ValueError("a wrong device")
    return Opaque("torch.device", (kind, index))


def _layout(name: str) -> Opaque:
    if name not in LAYOUTS:
        raise ValueError("a wrong layout")
    return Opaque("torch.layout", (name,))


def _size(sizes: object = ()) -> tuple[object, ...]:
    found = tuple(_sequence(sizes))
    if not are_sizes(found):
        raise ValueError("wrong sizes")
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


def _default(factory: object = None, pairs: object = ()) -> dict[object, object]:
    """A plain dict: unlike an OrderedDict, a defaultdict takes no attributes."""
    if factory is not None and not (
        isinstance(factory, Global) and is_class(factory.name) and not factory.name.endswith("Storage")
    ):
        raise ValueError("a factory that cannot be called")
    return dict(_ordered(pairs))


def _counter(counts: object = None) -> OrderedDict[object, object]:
    """A Counter of a dict; that of a list would count what is in it."""
    if counts is not None and not isinstance(counts, dict):
        raise ValueError("counts that are not a dict")
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
