"""A state dict or a module of a running program, as the safetensors file that it would be.

Nothing is pickled and nothing is written: its bytes are made from its tensors as they are read. So whatever is known of
a file (where its tensors lie, what of it was hashed) is known of an object in the same way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import accumulate
from threading import Lock
from typing import Any

import numpy as np

from dinoport.errors import CheckpointError, UsageError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.names import short_text
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.safetensors.reader import NAMES, read_safetensors
from dinoport.formats.torch.modules import deciding
from dinoport.formats.torch.storages import TORCH_DTYPES
from dinoport.shown.calls import Unnamed
from dinoport.tensor import Array, TensorSpec

PLAIN_CLASSES = ("Tensor", "Parameter", "Buffer")
"""Of torch: others keep their values in a way of their own, as quantised ones and those of several ranks do."""


class Live(str):
    """An object in memory, as a source: `str` is what a message calls it. Its state dict is asked for once."""

    state: Mapping[str, Any]
    attributes: Mapping[str, Mapping[str, object]]

    @classmethod
    def of(cls, given: object) -> Live:
        """Raises UsageError for what is neither a state dict nor a module."""
        ask = getattr(given, "state_dict", None)
        kind = type(given).__name__
        state = ask() if callable(ask) and not isinstance(given, type) else given
        if not isinstance(state, Mapping) or not state:
            raise UsageError(
                f"{kind} is not a SOURCE",
                expected="a path, a name, an address, a state dict or a torch.nn.Module",
                found=short_text(given) if isinstance(given, dict | list | tuple) else f"an object: {kind}",
                next_step="give the model or its state_dict()",
            )
        live = cls(f"a {kind} in memory" if ask else "a state dict in memory")
        live.state, live.attributes = state, dict(_attributes(given))
        return live

    def open(self) -> Checkpoint:
        """The tensors by reference. Raises CheckpointError for what is not a plain tensor."""
        source = LiveBytes(str(self), self.state)
        remark = f"{self}, as the safetensors file that it would be: sha256 {source.sha256}"
        return Checkpoint(
            Unnamed(self),
            "state dict in memory",
            read_safetensors(source),
            (source,),
            remarks=(remark,),
            attributes=self.attributes,
        )


def _attributes(given: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The attributes of each module that decide what it computes, and stand in no tensor."""
    modules = getattr(given, "named_modules", None)
    for path, module in modules() if callable(modules) else ():
        if own := deciding(type(module).__name__, partial(getattr, module)):
            yield path, own


class LiveBytes(ByteSource):
    """The bytes of the safetensors file that a state dict would be. Safe to read from several threads."""

    def __init__(self, where: str, state: Mapping[str, Any]) -> None:
        self.where = where
        self._tensors = {name: value for name, value in state.items() if not name.endswith("_extra_state")}
        specs = [_spec(where, name, value) for name, value in self._tensors.items()]
        self._names = list(self._tensors)
        from dinoport.formats.safetensors.writer import header_of

        self._header = header_of(specs, {})
        self._begins = list(accumulate((spec.size_bytes for spec in specs), initial=len(self._header)))
        self.size_bytes = self._begins[-1]
        self._flat: tuple[str, Any] = ("", None)
        self._lock = Lock()

    @cached_property
    def sha256(self) -> str:
        """Of the whole file, as it was when this was asked for first."""
        return self._sha256()

    def readinto(self, offset: int, buffer: memoryview) -> None:
        stop = offset + len(buffer)
        for begin, end, part in self._parts(offset, stop):
            first, last = max(begin, offset), min(end, stop)
            buffer[first - offset : last - offset] = part(first - begin, last - begin)

    def check_unchanged(self) -> None:
        """Raise CheckpointError if a tensor is not what it was, as in a training that went on."""
        if self._sha256() != self.sha256:
            raise CheckpointError(
                f"{self.where} changed while it was read",
                cause="a training that goes on in another thread, or weights that were loaded meanwhile",
                next_step="give a copy: {name: tensor.clone() for name, tensor in model.state_dict().items()}",
            )

    def close(self) -> None:
        self._flat = ("", None)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, Callable[[int, int], bytes | memoryview]]]:
        """Begin, end and bytes of the header and of each tensor that reach into a range."""
        if start < len(self._header):
            yield 0, len(self._header), lambda first, last: self._header[first:last]
        for place in range(max(bisect_right(self._begins, start) - 1, 0), len(self._names)):
            begin, end = self._begins[place : place + 2]
            if begin >= stop:
                return
            yield begin, end, partial(self._bytes, self._names[place])

    def _bytes(self, name: str, first: int, last: int) -> memoryview:
        with self._lock:
            if self._flat[0] != name:
                self._flat = (name, _flat(self._tensors[name]))
            part = self._flat[1][first:last]
        array: Array = part if isinstance(part, np.ndarray) else part.cpu().numpy()
        return array.data

    def _sha256(self) -> str:
        from hashlib import sha256

        digest = sha256()
        for block in self.blocks(0, self.size_bytes):
            digest.update(block)
        return digest.hexdigest()


def _flat(tensor: Any) -> Any:
    """All bytes of a tensor in one row: a view where it is contiguous."""
    if isinstance(tensor, np.ndarray):
        little = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
        return np.ascontiguousarray(little).reshape(-1).view(np.uint8)
    import torch

    return tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def _spec(where: str, name: object, value: Any) -> TensorSpec:
    """Name, dtype and shape of a tensor. Raises CheckpointError for what is not a plain one."""
    if not isinstance(name, str):
        raise _not_plain(where, short_text(name), "a key that is not a name")
    if isinstance(value, np.ndarray):
        dtype: np.dtype[Any] | None = value.dtype.newbyteorder("=")
        shape = value.shape
    elif problem := _problem(value):
        raise _not_plain(where, name, problem)
    else:
        dtype, shape = TORCH_DTYPES.get(str(value.dtype)), tuple(value.shape)
    if dtype is None or dtype not in NAMES:
        raise _not_plain(where, name, f"a tensor of {value.dtype}")
    return TensorSpec(name, dtype, shape)


def _problem(value: Any) -> str | None:
    """What keeps a value from being a plain tensor of torch; None where nothing does."""
    kind = type(value)
    if not hasattr(value, "is_meta") or not hasattr(value, "layout"):
        return f"a {kind.__name__}" if not isinstance(value, Mapping) else "a dict of its own: give that state dict"
    if not kind.__module__.startswith("torch") or kind.__name__ not in PLAIN_CLASSES:
        return f"a {kind.__name__}, which keeps its values in a way of its own"
    if value.is_meta:
        return "a tensor on the meta device: a name and a shape without values"
    if value.is_quantized:
        return "a quantised tensor"
    if str(value.layout) != "torch.strided" or value.is_nested:
        return f"a tensor of the layout {value.layout}"
    return None


def _not_plain(where: str, name: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where} holds {name[:200]} in a form that is not read",
        expected="plain tensors with their values, by name",
        found=found,
        cause="a model that is spread over several devices, not loaded yet, or quantised",
        next_step="gather, load or dequantise it, and give its whole state_dict()",
    )
