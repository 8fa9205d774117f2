"""Streaming tensors into safetensors: one file, or shards with the index that Transformers reads.

The format is a little-endian header length in 8 bytes, a JSON header, and the values. The header is padded and the
tensors ordered such that each lies at a multiple of its item size, so that it can be used in place.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dinoport.files.census import Census
from dinoport.files.json_file import write_json
from dinoport.files.output_file import OutputFile, WrittenFile
from dinoport.formats.safetensors.reader import NAMES
from dinoport.formats.stream import Writable, dtype_called, specs, stream
from dinoport.tensor import TensorSpec

PYTORCH_METADATA = {"format": "pt"}
"""Without it Transformers refuses the file, or takes the tensors for TensorFlow's."""


def write_safetensors(
    path: Path,
    tensors: Sequence[Writable],
    *,
    metadata: Mapping[str, str] = PYTORCH_METADATA,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> WrittenFile:
    """Write `tensors` to the new file `path`, holding one block at a time.

    `on_bytes` is called with the size of each block. Raises FolderError where the disk refuses, and leaves no file.
    """
    # Wide items first: whatever follows a whole number of 8-byte items is aligned for 8, 4, 2 and 1. The sort is
    # stable, so tensors of one dtype keep the plan's order.
    ordered = sorted(tensors, key=lambda tensor: -tensor.target.dtype.itemsize)
    header = header_of(specs(ordered), metadata)
    census: dict[str, Census] = {}
    with OutputFile(path, len(header) + sum(tensor.target.size_bytes for tensor in ordered)) as file:
        file.write(header)
        for tensor in ordered:
            for data in stream(tensor, census):
                on_bytes(file.write(data))
        return file.finish(census)


def write_sharded(
    folder: Path,
    tensors: Sequence[Writable],
    max_shard_bytes: int,
    on_bytes: Callable[[int], None] = lambda count: None,
    on_shard: Callable[[Path], None] = lambda path: None,
) -> tuple[WrittenFile, ...]:
    """Write `model.safetensors`, or shards of at most `max_shard_bytes` of values and their index.

    Shards are filled in the order of `tensors`; one that is larger than a shard gets one of its own. `on_shard` is
    called with each that is whole. Raises as `write_safetensors` does.
    """
    shards = _shards(tensors, max_shard_bytes)
    if len(shards) == 1:
        return (write_safetensors(folder / "model.safetensors", tensors, on_bytes=on_bytes),)
    specs(tensors)
    files: list[WrittenFile] = []
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        files.append(write_safetensors(folder / name, shard, on_bytes=on_bytes))
        on_shard(folder / name)
        weight_map |= {tensor.target.name: name for tensor in shard}
    total = {
        "total_parameters": sum(tensor.target.size for tensor in tensors),
        "total_size": sum(tensor.target.size_bytes for tensor in tensors),
    }
    index = {"metadata": total, "weight_map": dict(sorted(weight_map.items()))}
    return (*files, write_json(folder / "model.safetensors.index.json", index))


def _shards(tensors: Sequence[Writable], max_shard_bytes: int) -> list[list[Writable]]:
    shards: list[list[Writable]] = [[]]
    filled_bytes = 0
    for tensor in tensors:
        size_bytes = tensor.target.size_bytes
        if shards[-1] and filled_bytes + size_bytes > max_shard_bytes:
            shards.append([])
            filled_bytes = 0
        shards[-1].append(tensor)
        filled_bytes += size_bytes
    return shards


def header_of(ordered: Sequence[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for spec in ordered:
        called, stop = dtype_called(spec, NAMES, "safetensors files do not hold"), start + spec.size_bytes
        entries[spec.name] = {"dtype": called, "shape": list(spec.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
