"""Checkpoints to measure on: of published shapes for the most part, every value pseudo-random, made here."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.tensor import BLOCK_BYTES, Array, TensorSpec

VIT_TINY = ViT(192, 12, 3, 768, 16, 224)
VIT_SMALL = ViT(384, 12, 6, 1536, 16, 224)
VIT_BASE = ViT(768, 12, 12, 3072, 16, 224)
VIT_LARGE = ViT(1024, 24, 16, 4096, 16, 224)
"""Not published for DINO; the shapes are timm's."""
VIT_8GB = ViT(2048, 40, 32, 8192, 16, 224)
"""Of nobody's making: what 8 GB of the same tensors would be."""
WARM_UP = ViT(64, 1, 1, 256, 16, 32)

V3_SMALL = RotaryViT(384, 12, 6, 1536, 16)
V3_BASE = RotaryViT(768, 12, 12, 3072, 16)
V3_2GB = RotaryViT(1280, 26, 20, 5120, 16)
"""Of nobody's making: 2 GB of a backbone alone."""
V3_WARM_UP = RotaryViT(64, 1, 1, 256, 16)

TEACHER_ONLY = ("model.",)
"""What `eval/<iteration>/sharded_teacher_checkpoint` of a DINOv3 run holds."""

WHOLE_RUN = (
    *("model.student.", "model.teacher.", "model.model_ema."),
    *("optimizer.state.exp_avg.", "optimizer.state.exp_avg_sq."),
)
"""What `ckpt/<iteration>` of a DINOv3 run holds: three copies of the model and two moments for each weight."""


def checkpoint(architecture: ViT, folder: Path) -> Path:
    """Write a checkpoint into `folder`, holding one block at a time, and return its path.

    The file is laid out as torch.save lays it out; that torch reads it is a test of its own.
    """
    path = folder / f"vit-{architecture.width}x{architecture.depth}.pth"
    if not path.exists():
        tensors = architecture.tensors()
        float32 = np.dtype(np.float32)
        write_torch_file(path, [Noise(TensorSpec(name, float32, shape)) for name, shape in tensors.items()])
    return path


def size_bytes(architecture: ViT) -> int:
    """Of the values; names and padding add a few thousandths."""
    return sum(4 * prod(shape) for shape in architecture.tensors().values())


def distributed(architecture: RotaryViT, folder: Path, copies: tuple[str, ...], ranks: int) -> Path:
    """Write a distributed checkpoint of `ranks` ranks into `folder`, holding one tensor at a time, and return its path.

    It is laid out as torch.distributed.checkpoint lays it out, which needs a process for each rank: each part is saved
    by torch.save behind the one before, `.metadata` is a pickle of torch's own classes.
    """
    from torch.distributed.checkpoint.metadata import Metadata, TensorProperties, TensorStorageMetadata

    path = folder / f"v3-{architecture.width}x{architecture.depth}-{len(copies)}x{ranks}"
    if path.exists():
        return path
    path.mkdir()
    entries: dict[str, Any] = {}
    places: dict[Any, Any] = {}
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((path / name).open("wb"))
            for name in (f"__{rank}_0.distcp" for rank in range(ranks))
        }
        for copy in copies:
            for bare, shape in architecture.tensors().items():
                name, tensor = f"{copy}backbone.{bare}", _values(copy, bare, shape, architecture)
                chunks = _save_rows(name, tensor, files, places)
                entries[name] = TensorStorageMetadata(TensorProperties(dtype=tensor.dtype), tensor.shape, chunks)
    (path / ".metadata").write_bytes(pickle.dumps(Metadata(entries, {name: (name,) for name in entries}, places)))
    return path


def _values(copy: str, bare: str, shape: tuple[int, ...], architecture: RotaryViT) -> Any:
    import torch

    if bare == "rope_embed.periods":
        exponents = np.arange(shape[0]) / (architecture.head_dim / 4)
        return torch.from_numpy((architecture.rope_theta**exponents).astype(np.float32))
    noise = Noise(TensorSpec(copy + bare, np.dtype(np.float32), shape))
    return torch.from_numpy(np.concatenate(list(noise.blocks())).reshape(shape))


def _save_rows(name: str, tensor: Any, files: Mapping[str, Any], places: dict[Any, Any]) -> list[Any]:
    """Save a tensor's rows as FSDP2 splits them, an equal share for each rank, and note where each part lies."""
    import torch
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

    chunks = []
    share = -(-tensor.shape[0] // len(files))
    for rank, (file_name, file) in enumerate(files.items()):
        first = min(rank * share, tensor.shape[0])
        part = tensor[first : first + share].clone()
        offsets = torch.Size([first, *[0] * (tensor.dim() - 1)])
        start = file.tell()
        torch.save(part, file)
        chunks.append(ChunkStorageMetadata(offsets, part.shape))
        places[MetadataIndex(name, offsets, rank)] = _StorageInfo(file_name, start, file.tell() - start)
    return chunks


@dataclass(frozen=True)
class Noise:
    """Normal values of the size that trained weights have; norms lie around one, so that a forward pass is sane."""

    target: TensorSpec

    def blocks(self) -> Iterator[Array]:
        generator = np.random.default_rng(list(self.target.name.encode()))
        centre = np.float32("norm" in self.target.name and self.target.name.endswith("weight"))
        limit = BLOCK_BYTES // self.target.dtype.itemsize
        for start in range(0, self.target.size, limit):
            values = generator.standard_normal(min(limit, self.target.size - start), dtype=np.float32)
            yield values * np.float32(0.02) + centre
