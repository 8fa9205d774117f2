"""A folder of Hugging Face Transformers: config.json, and weights in one file or in several with an index."""

from __future__ import annotations

import json
from pathlib import Path

from dinoport.checkpoints.byte_sources import LocalFile
from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.checkpoints.safetensors import read_safetensors
from dinoport.checkpoints.torch_zip import read_torch_zip
from dinoport.errors import CheckpointError
from dinoport.tensor import TensorRef

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH_WEIGHTS = "pytorch_model.bin"

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Of a JSON file in a folder; an index of a 7B model takes a hundred kilobytes."""


def is_transformers_folder(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(
        (folder / name).is_file() for name in (WEIGHTS, INDEX, TORCH_WEIGHTS)
    )


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
    try:
        size_bytes = path.stat().st_size
        content = json.loads(path.read_text(encoding="utf-8")) if size_bytes <= MAX_JSON_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, f"{type(error).__name__}: {str(error)[:80]}") from error
    if not isinstance(content, dict):
        raise _broken(path, f"{size_bytes} bytes that are no JSON object")
    return content


def _weights(folder: Path, sources: list[LocalFile]) -> object:
    if (folder / WEIGHTS).is_file():
        return read_safetensors(_open(folder / WEIGHTS, sources))
    if not (folder / INDEX).is_file():
        return read_torch_zip(_open(folder / TORCH_WEIGHTS, sources))
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise _broken(folder / INDEX, "no weight_map from names to files")
    tensors: dict[str, TensorRef] = {}
    for shard in dict.fromkeys(weight_map.values()):
        if Path(shard).name != shard or shard in (".", ".."):
            raise _broken(folder / INDEX, f"a shard outside the folder: {shard!r}")
        found = read_safetensors(_open(folder / shard, sources))
        for name in found:
            if weight_map.get(name) != shard or name in tensors:
                raise _broken(folder / shard, f"{name}, which the index does not place there")
        tensors |= found
    missing = [name for name in weight_map if name not in tensors]
    if missing:
        raise _broken(folder / INDEX, f"{len(missing)} tensors that no shard holds: {', '.join(missing[:3])}")
    return tensors


def _open(path: Path, sources: list[LocalFile]) -> LocalFile:
    sources.append(LocalFile(path))
    return sources[-1]


def _broken(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not sound",
        found=found,
        cause="a download that broke off, or a file that was edited",
        next_step="fetch the folder again",
    )
