"""A checkpoint so small that a test can convert and verify it a thousand times: 7 kB, made without torch."""

from pathlib import Path

from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request
from tests import formula
from tests.writing.stub_tensors import Stub, tensor

ARCHITECTURE = ViT(width=8, depth=1, heads=2, mlp_hidden=12, patch_size=4, image_size=8)
REQUEST = Request(num_heads=2)

DROPPED = {"head.mlp.0.weight": (6, 8), "head.last_layer.weight_v": (5, 6)}
"""Of the projection head, which no class has a place for."""


def tensors(architecture: ViT = ARCHITECTURE) -> list[Stub]:
    shapes = {**architecture.tensors(), **DROPPED}
    return [tensor(name, formula.tensor(name, shape), block=1 << 20) for name, shape in shapes.items()]


def write(path: Path, architecture: ViT = ARCHITECTURE) -> Path:
    write_torch_file(path, tensors(architecture))
    return path
