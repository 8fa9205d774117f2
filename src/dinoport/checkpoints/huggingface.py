"""A folder of Hugging Face Transformers: config.json, and weights in one file or in several with an index."""

from __future__ import annotations

from pathlib import Path

from dinoport.checkpoints.byte_sources import LocalFile
from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.checkpoints.files import read_file
from dinoport.checkpoints.json_text import parse_object
from dinoport.checkpoints.stand_ins import short_text
from dinoport.errors import CheckpointError
from dinoport.tensor import TensorRef

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""In the order in which Transformers looks for them: what is found first counts."""

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Of a JSON file in a folder; the index of a 7B model takes a hundred kilobytes."""

MAX_SHARDS = 1000
"""Open files at once; a 7B model has a handful of shards."""


def is_transformers_folder(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in (*WEIGHTS, *INDEXES))


def read_transformers_folder(folder: Path) -> Checkpoint:
    """Open a folder of Transformers. Raises CheckpointError where its files contradict each other."""
    config = read_json(folder / "config.json")
    report = read_json(folder / "dinoport.json") if (folder / "dinoport.json").is_file() else None
    sources: list[LocalFile] = []
    try:
        tree: object = _weights(folder, sources)
    except BaseException:
        for source in sources:
            source.close()
        raise
    return Checkpoint(str(folder), "folder of Transformers", tree, tuple(sources), config, report)


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file of bounded size. Raises CheckpointError."""
    source = LocalFile(path)
    try:
        if source.size_bytes > MAX_JSON_BYTES:
            raise _broken(path, f"{source.size_bytes} bytes, where at most {MAX_JSON_BYTES} are sound")
        return parse_object(source.read(0, source.size_bytes))
    except ValueError as error:
        raise _broken(path, str(error)) from error
    finally:
        source.close()


def _weights(folder: Path, sources: list[LocalFile]) -> object:
    for single, index in zip(WEIGHTS, INDEXES, strict=True):
        if (folder / single).is_file():
            return _read(folder / single, sources)
        if (folder / index).is_file():
            return _sharded(folder, index, sources)
    raise _broken(folder, "no weights")


def _sharded(folder: Path, index: str, sources: list[LocalFile]) -> dict[str, TensorRef]:
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise _broken(folder / index, "no weight_map from names to files")
    shards = list(dict.fromkeys(weight_map.values()))
    if len(shards) > MAX_SHARDS:
        raise _broken(folder / index, f"{len(shards)} shards, where at most {MAX_SHARDS} are sound")
    tensors: dict[str, TensorRef] = {}
    for shard in shards:
        if shard in ("", ".", "..") or Path(shard).name != shard or "\\" in shard or not shard.isprintable():
            raise _broken(folder / index, f"a shard outside the folder: {short_text(shard)}")
        held = _read(folder / shard, sources)
        if not isinstance(held, dict) or not all(isinstance(ref, TensorRef) for ref in held.values()):
            raise _broken(folder / shard, "something else than a state dict")
        for name in held:
            if weight_map.get(name) != shard:
                raise _broken(folder / shard, f"{short_text(name)}, which the index does not place there")
        tensors |= held
    missing = [name for name in weight_map if name not in tensors]
    if missing:
        listed = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise _broken(folder / index, f"names without a tensor in any shard ({len(missing)}): {listed}")
    return tensors


def _read(path: Path, sources: list[LocalFile]) -> object:
    sources.append(LocalFile(path))
    return read_file(sources[-1])[1]


def _broken(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not sound",
        found=found,
        cause="a download that broke off, or a file that was edited",
        next_step="fetch the folder again",
    )
