"""Distributed checkpoints of any split, written with torch's own dataclasses and torch.save, without a process group.

`torch.distributed.checkpoint` reads what this writes, so each test can ask torch what a folder holds.
"""

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.tensor import TensorRef

Slices = tuple[slice, ...]

QKV = "model.teacher.backbone.blocks.0.attn.qkv.weight"


def tensors() -> dict[str, torch.Tensor]:
    """A training checkpoint's names in small, every value once."""
    shapes = {
        "model.teacher.backbone.cls_token": (1, 1, 6),
        QKV: (9, 6),
        "model.teacher.backbone.patch_embed.proj.weight": (6, 3, 2, 2),
        "model.teacher.backbone.scalar": (),
        "model.teacher.backbone.empty": (0, 4),
        "optimizer.state.cls_token.exp_avg": (1, 1, 6),
    }
    made, first = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        made[name] = torch.arange(first, first + count, dtype=torch.float32).reshape(shape)
        first += count
    made["model.teacher.backbone.rope_embed.periods"] = torch.tensor([1.5, 2.5, 3.25], dtype=torch.bfloat16)
    return made


def open_folder(folder: Path, read: bool) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert isinstance(checkpoint.tree, dict)
        for tensor in checkpoint.tree.values() if read else ():
            if isinstance(tensor, TensorRef):
                tensor.read()


def refused(folder: Path, read: bool = False) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_folder(folder, read)
    return str(caught.value).replace(str(folder), "FOLDER")


def rows(tensor: torch.Tensor, ranks: int) -> list[Slices]:
    """The split of FSDP2: rows in as many parts as there are ranks, the last ones smaller or empty."""
    step = -(-tensor.shape[0] // ranks)
    length = tensor.shape[0]
    return [(slice(min(rank * step, length), min((rank + 1) * step, length)),) for rank in range(ranks)]


def grid(tensor: torch.Tensor, *parts: int) -> list[Slices]:
    """A split along several axes, as tensor parallelism and sharding together make it."""
    places: list[Slices] = [()]
    for length, count in zip(tensor.shape, parts, strict=False):
        step = -(-length // count)
        places = [(*place, slice(i * step, min((i + 1) * step, length))) for place in places for i in range(count)]
    return places


def write_folder(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    split: Callable[[str, torch.Tensor], Sequence[Slices]] = lambda name, tensor: [()],
    change: Callable[[Metadata], Any] = lambda metadata: None,
    save: Callable[[torch.Tensor, io.BytesIO], Any] = torch.save,
) -> Path:
    """Write `tensors`, each part by the rank of its place in the split; `change` edits the metadata before the dump."""
    folder.mkdir(parents=True)
    files: dict[str, io.BytesIO] = {"__0_0.distcp": io.BytesIO(pickle.dumps(9))}
    files["__0_0.distcp"].seek(0, io.SEEK_END)
    entries: dict[str, Any] = {"iteration": BytesStorageMetadata()}
    places = {MetadataIndex("iteration"): _StorageInfo("__0_0.distcp", 0, files["__0_0.distcp"].tell())}
    for name, tensor in tensors.items():
        chunks = []
        for rank, slices in enumerate(split(name, tensor)):
            part = tensor[slices].clone() if slices else tensor
            starts = [each.start for each in slices]
            offsets = torch.Size([*starts, *[0] * (tensor.dim() - len(starts))])
            chunks.append(ChunkStorageMetadata(offsets, part.shape))
            file = files.setdefault(f"__{rank}_0.distcp", io.BytesIO())
            start = file.tell()
            item = io.BytesIO()
            save(part, item)
            file.write(item.getvalue())
            places[MetadataIndex(name, offsets, rank)] = _StorageInfo(f"__{rank}_0.distcp", start, file.tell() - start)
        entries[name] = TensorStorageMetadata(TensorProperties(dtype=tensor.dtype), tensor.shape, chunks)
    for name, file in files.items():
        (folder / name).write_bytes(file.getvalue())
    metadata = Metadata(entries, {name: (name,) for name in entries}, places)
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    return folder


def read_with_torch(folder: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What torch itself reads from a folder, into tensors like the given ones."""
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    state = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
    load(state, storage_reader=FileSystemReader(folder), no_dist=True)
    return state
