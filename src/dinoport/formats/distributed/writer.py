"""Writing a folder as `torch.distributed.checkpoint` reads it: whole tensors in one file, and `.metadata` beside it.

Any number of processes loads it: each takes its share of every tensor. The layout is that of PyTorch's
`torch/distributed/checkpoint/{metadata,filesystem}.py`. Fields that later versions added are left to their defaults.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dinoport.files.census import Census
from dinoport.files.json_file import write_bytes
from dinoport.files.output_file import OutputFile, WrittenFile
from dinoport.formats.distributed.signs import METADATA
from dinoport.formats.stream import Writable, specs
from dinoport.formats.torch.writer import append_archive, named, pickle_tensor, pickled, text, tuple_of, whole
from dinoport.tensor import Shape, TensorSpec, dtype_name

FILE = "__0_0.distcp"
"""What the first process of a run calls its file."""

CLASSES = "torch.distributed.checkpoint.metadata"

STEP = "iteration"
"""The number of a run's steps, which dinov3's `load_checkpoint` asks for."""


def write_distributed(
    folder: Path,
    tensors: Sequence[Writable],
    names: Mapping[str, str],
    *,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> list[WrittenFile]:
    """Write `tensors` under these `names`, and step 0. Raises FolderError where the disk refuses."""
    announced = specs(tensors)
    census: dict[str, Census] = {}
    places: dict[str, tuple[int, int]] = {}
    with OutputFile(folder / FILE, sum(spec.size_bytes for spec in announced)) as file:

        def append(name: str, value: bytes, own: Sequence[Writable]) -> None:
            start = file.size_bytes
            append_archive(file, value, own, census, on_bytes)
            places[name] = start, file.size_bytes - start

        append(STEP, pickled(whole(0)), [])
        for tensor in tensors:
            append(names[tensor.target.name], pickle_tensor(tensor.target), [tensor])
        values = file.finish(census)
    metadata = _metadata({names[spec.name]: spec for spec in announced}, places)
    return [values, write_bytes(folder / METADATA, metadata)]


def _metadata(tensors: Mapping[str, TensorSpec], places: Mapping[str, tuple[int, int]]) -> bytes:
    step = named(CLASSES, "BytesStorageMetadata") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    described = {STEP: step, **{name: _described(spec) for name, spec in tensors.items()}}
    # What torch flattened is told apart, so that it can be put together again: `model.x` was `x` in `model`.
    paths = {name: tuple_of(*map(text, name.split(".", 1))) for name in described}
    stored = [(_index(name, tensors.get(name)), _place(*at)) for name, at in places.items()]
    fields = {
        "state_dict_metadata": _dict([(text(name), value) for name, value in described.items()]),
        "planner_data": _dict([(text(name), path) for name, path in paths.items()]),
        "storage_data": _dict(stored),
    }
    return pickled(_object("Metadata", **fields))


def _described(spec: TensorSpec) -> bytes:
    layout = named("torch.serialization", "_get_layout") + tuple_of(text("torch.strided")) + pickle.REDUCE
    contiguous = named(CLASSES, "_MEM_FORMAT_ENCODING") + tuple_of(whole(0)) + pickle.REDUCE
    dtype = named("torch", dtype_name(spec.dtype))
    state = tuple_of(dtype, layout, pickle.NEWFALSE, contiguous, pickle.NEWFALSE)
    properties = named(CLASSES, "TensorProperties") + pickle.EMPTY_TUPLE + pickle.NEWOBJ + state + pickle.BUILD
    chunk = _object("ChunkStorageMetadata", offsets=_size((0,) * len(spec.shape)), sizes=_size(spec.shape))
    chunks = pickle.EMPTY_LIST + chunk + pickle.APPEND
    return _object("TensorStorageMetadata", properties=properties, size=_size(spec.shape), chunks=chunks)


def _index(name: str, spec: TensorSpec | None) -> bytes:
    offset = pickle.NONE if spec is None else _size((0,) * len(spec.shape))
    return _object("MetadataIndex", fqn=text(name), offset=offset, index=pickle.NONE if spec is None else whole(0))


def _place(start: int, length: int) -> bytes:
    module = "torch.distributed.checkpoint.filesystem"
    fields = {"relative_path": text(FILE), "offset": whole(start), "length": whole(length)}
    return _built(named(module, "_StorageInfo"), fields)


def _size(shape: Shape) -> bytes:
    return named("torch", "Size") + tuple_of(tuple_of(*map(whole, shape))) + pickle.REDUCE


def _object(name: str, **fields: bytes) -> bytes:
    return _built(named(CLASSES, name), fields)


def _built(kind: bytes, fields: Mapping[str, bytes]) -> bytes:
    state = _dict([(text(name), value) for name, value in fields.items()])
    return kind + pickle.EMPTY_TUPLE + pickle.NEWOBJ + state + pickle.BUILD


def _dict(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    return pickle.EMPTY_DICT + pickle.MARK + b"".join(key + value for key, value in entries) + pickle.SETITEMS
