"""Checkpoints to measure on: torch files of published shapes, every value pseudo-random, made here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from dinoport.families.dino.architecture import DinoViT
from dinoport.mapping.plan import TensorSpec
from dinoport.tensor import BLOCK_BYTES, Array
from dinoport.writing.torch_file import write_torch_file

VIT_TINY = DinoViT(192, 12, 3, 768, 16, 224)
VIT_SMALL = DinoViT(384, 12, 6, 1536, 16, 224)
VIT_BASE = DinoViT(768, 12, 12, 3072, 16, 224)
VIT_LARGE = DinoViT(1024, 24, 16, 4096, 16, 224)
"""Not published for DINO; the shapes are timm's."""
VIT_8GB = DinoViT(2048, 40, 32, 8192, 16, 224)
"""Of nobody's making: what 8 GB of the same tensors would be."""
WARM_UP = DinoViT(64, 1, 1, 256, 16, 32)


def checkpoint(architecture: DinoViT, folder: Path) -> Path:
    """Write a checkpoint into `folder`, holding one block at a time, and return its path.

    The file is laid out as torch.save lays it out; that torch reads it is a test of its own.
    """
    path = folder / f"vit-{architecture.width}x{architecture.depth}.pth"
    if not path.exists():
        tensors = architecture.tensors()
        float32 = np.dtype(np.float32)
        write_torch_file(path, [_Noise(TensorSpec(name, float32, shape)) for name, shape in tensors.items()])
    return path


def size_bytes(architecture: DinoViT) -> int:
    """Of the values; names and padding add a few thousandths."""
    return sum(4 * prod(shape) for shape in architecture.tensors().values())


@dataclass(frozen=True)
class _Noise:
    """Normal values of the size that trained weights have; norms lie around one, so that a forward pass is sane."""

    target: TensorSpec

    def blocks(self) -> Iterator[Array]:
        generator = np.random.default_rng(list(self.target.name.encode()))
        centre = np.float32("norm" in self.target.name and self.target.name.endswith("weight"))
        limit = BLOCK_BYTES // self.target.dtype.itemsize
        for start in range(0, self.target.size, limit):
            values = generator.standard_normal(min(limit, self.target.size - start), dtype=np.float32)
            yield values * np.float32(0.02) + centre
