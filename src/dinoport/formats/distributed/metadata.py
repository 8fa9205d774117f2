"""The `.metadata` of a distributed checkpoint: which tensors there are, and which file holds which part of them.

It is a pickle of the dataclasses in PyTorch's `torch/distributed/checkpoint/{metadata,filesystem}.py`; the tests read
what torch 2.7 wrote and what the torch beside them writes. torch itself unpickles it without any restriction. Here it
is read as plain data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.damage import damaged
from dinoport.files.names import is_name, short_text
from dinoport.formats.distributed.signs import COPY_AGAIN
from dinoport.formats.distributed.split_values import Box, tiling_problem
from dinoport.formats.torch.builders import builders
from dinoport.formats.torch.inert_pickle import InertUnpickler
from dinoport.formats.torch.stand_ins import Global, Opaque
from dinoport.formats.torch.storages import TORCH_DTYPES
from dinoport.formats.values import is_shape
from dinoport.tensor import Shape, shape_text

MAX_BYTES = 256 * 1024 * 1024
"""Of `.metadata`. A training checkpoint of the 7B model from 256 GPUs has 112 MB: 800,000 parts."""

MAX_OPCODES = 100_000_000
MAX_OBJECTS = 40_000_000
"""For a million parts of 70 opcodes, 16 remembered objects and as many containers each, as torch 2.13 writes them."""

MEMORY_OF_A_BYTE = 24
"""Bytes of memory that each byte of the file may ask for. What torch writes asks for twelve, empty sets for 240."""

MIN_MEMORY_BYTES = 64 * 1024 * 1024
"""What a file may ask for however small it is."""

MAX_AXES = 16

MEMORY_FORMATS = (0, 1, 2, 3)
"""Numbers of torch's memory formats, of which the metadata tells each tensor's."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a tensor, and where torch.save's record of it lies."""

    box: Box
    file: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class SplitTensor:
    """A tensor and the pieces that tile it; pieces without elements are left out."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    pieces: tuple[Piece, ...]


def parse_metadata(data: bytes, where: str) -> tuple[list[SplitTensor], dict[str, Opaque]]:
    """Every tensor that `.metadata` lists, its pieces proven to cover it exactly; and stand-ins for other objects.

    Raises CheckpointError for what is not sound, UnsafeCheckpointError for a pickle that names code.
    """
    unpickler = InertUnpickler(
        data,
        where,
        builders(where),
        max_opcodes=MAX_OPCODES,
        max_objects=MAX_OBJECTS,
        max_memory_bytes=max(MIN_MEMORY_BYTES, MEMORY_OF_A_BYTE * len(data)),
    )
    tree = unpickler.load()
    reader = _Reader(where)
    for step, (made, *_) in unpickler.unknown_steps:
        reader.check_step(step, made)
    return reader.tensors(tree)


_StorageInfo: TypeAlias = tuple[object, ...]
_STORAGE_INFO = ("relative_path", "offset", "length", "transform_descriptors")


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where

    def check_step(self, step: str, made: object) -> None:
        """Refuse what the writer's own classes do not do: torch would stop there, or make something else of it."""
        args = made.args if isinstance(made, Opaque) else ()
        name = made.name if isinstance(made, Opaque) else ""
        known = name.startswith("pathlib.") and all(type(arg) is str for arg in args)
        known |= _short(name) == "_MEM_FORMAT_ENCODING" and len(args) == 1 and args[0] in MEMORY_FORMATS
        known |= _short(name) == "TensorProperties" and isinstance(made, Opaque) and _is_properties(made.state)
        if not known or not step.startswith(("a call of", "the state of")):
            raise self._broken(f"{step}, which its writer has no use for")

    def tensors(self, tree: object) -> tuple[list[SplitTensor], dict[str, Opaque]]:
        metadata = self._fields(tree, "Metadata")
        places = self._places(metadata.get("storage_data"))
        entries = metadata.get("state_dict_metadata")
        if not isinstance(entries, dict):
            raise self._broken("no state_dict_metadata")
        found, others = [], {}
        for name, entry in entries.items():
            if not isinstance(name, str) or not isinstance(entry, Opaque):
                raise self._broken(f"an entry {short_text(name)} that describes nothing")
            if _short(entry.name) == "BytesStorageMetadata":
                others[name] = Opaque(entry.name)
            else:
                found.append(self._tensor(name, self._fields(entry, "TensorStorageMetadata"), places))
        return found, others

    def _places(self, stored: object) -> dict[str, _StorageInfo]:
        """Where each part lies, by tensor and offset, as `torch.distributed.checkpoint` looks it up."""
        if not isinstance(stored, dict):
            raise self._broken("no storage_data")
        places: dict[str, _StorageInfo] = {}
        while stored:  # which is taken apart, as both together take twice the memory
            index, info = stored.popitem()
            fields = self._fields(index, "MetadataIndex")
            name, offset = fields.get("fqn"), fields.get("offset")
            if not isinstance(name, str) or not isinstance(info, Opaque):
                raise self._broken("a place without a name")
            if offset is None:
                continue  # an object that is not a tensor
            key = _place(name, self._sizes(name, offset))
            if key in places:
                raise self._broken(f"two places for the part of {key}")
            place = self._fields(info, "_StorageInfo")
            places[key] = tuple(map(place.get, _STORAGE_INFO))
        return places

    def _tensor(self, name: str, fields: Mapping[str, object], places: Mapping[str, _StorageInfo]) -> SplitTensor:
        shape = self._sizes(name, fields.get("size"))
        chunks = fields.get("chunks")
        if not isinstance(chunks, list):
            raise self._broken(f"{name} without a list of its parts")
        boxes = [self._box(name, chunk, len(shape)) for chunk in chunks]
        if problem := tiling_problem(shape, boxes):
            raise self._broken(
                f"{name} of shape {shape_text(shape)} has {problem}", "parts that cover each element exactly once"
            )
        pieces = tuple(self._piece(name, box, places) for box in boxes if box.size)
        return SplitTensor(name, self._dtype(name, fields.get("properties")), shape, pieces)

    def _box(self, name: str, chunk: object, axes: int) -> Box:
        fields = self._fields(chunk, "ChunkStorageMetadata")
        box = Box(self._sizes(name, fields.get("offsets")), self._sizes(name, fields.get("sizes")))
        if len(box.offsets) != axes or len(box.sizes) != axes:
            raise self._broken(f"{name} of {axes} axes has a part {box}")
        return box

    def _piece(self, name: str, box: Box, places: Mapping[str, _StorageInfo]) -> Piece:
        info = places.get(_place(name, box.offsets))
        if info is None:
            raise self._broken(f"no place for the part of {name} at {shape_text(box.offsets)}")
        file, start, length, transforms = info
        if transforms:
            raise CheckpointError(
                f"{self._where} describes values that were transformed when they were saved",
                where=name,
                expected="parts as torch.save writes them",
                found=f"transforms {short_text(transforms)}",
                cause="the writer was given an extension, such as compression or encryption",
                next_step="load it with torch.distributed.checkpoint and the same extension, and save it without one",
            )
        if type(file) is not str or type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise self._broken(f"a place {short_text((file, start, length))} for {name}")
        if not file or file in (".", "..") or not is_name(file) or any(sign in file for sign in "/\\"):
            raise self._broken(f"{name} in {file[:80]!r}", "the name of a file in the folder itself")
        return Piece(box, file, start, length)

    def _dtype(self, name: str, properties: object) -> np.dtype[Any]:
        state = properties.state if isinstance(properties, Opaque) else None
        kind = state[0] if isinstance(state, tuple) and state else None
        kind = state.get("dtype") if isinstance(state, dict) else kind
        if not isinstance(kind, Global) or kind.name not in TORCH_DTYPES:
            what = kind.name if isinstance(kind, Global) else "nothing"
            raise self._broken(f"{name} of dtype {what[:80]}", f"one of {', '.join(TORCH_DTYPES)}")
        return TORCH_DTYPES[kind.name]

    def _sizes(self, name: str, values: object) -> Shape:
        if not isinstance(values, (tuple, list)) or len(values) > MAX_AXES or not is_shape(values):
            raise self._broken(f"{name} with {short_text(values)}", f"whole numbers, none negative, at most {MAX_AXES}")
        return tuple(values)

    def _fields(self, node: object, class_name: str) -> Mapping[str, object]:
        """The fields of a stand-in for one of torch's dataclasses."""
        if not isinstance(node, Opaque) or _short(node.name) != class_name or not isinstance(node.state, dict):
            found = node.name if isinstance(node, Opaque) else f"a {type(node).__name__}"
            raise self._broken(f"{found[:80]} where {class_name} belongs")
        return node.state

    def _broken(self, found: str, expected: str | None = None) -> CheckpointError:
        what = f"{self._where} is not sound metadata of a distributed checkpoint"
        return damaged(what, found, expected, next_step=COPY_AGAIN)


def _is_properties(state: object) -> bool:
    """Whether a state is that of TensorProperties: dtype, layout, gradient, memory format, pinned."""
    if not isinstance(state, tuple) or len(state) != 5:
        return False
    names = [_short(part.name) for part in (state[1], state[3]) if isinstance(part, Opaque)]
    return names == ["layout", "_MEM_FORMAT_ENCODING"] and type(state[2]) is bool and type(state[4]) is bool


def _place(name: str, offsets: Shape) -> str:
    """A part's key. Text, because the hashes of tuples of numbers can be made to collide."""
    return f"{name} at {shape_text(offsets)}"


def _short(class_name: str) -> str:
    return class_name.rpartition(".")[2]
