"""DINOv3's rotary positions, apart from everything else that the outputs proof compares.

Transformers computes the angles in float32, whatever the model's dtype, from a base that the config holds; upstream
takes the periods that the checkpoint holds. So outputs are compared with the class's own sines and cosines on both
sides, which leaves float64's precision to all the rest, and the sines and cosines are compared by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from dinoport.networks.rotary_vit.architecture import DinoV3ViT

GATE = 1e-5
"""Largest difference of a sine or cosine that counts as equal. Angles reach 2π, so float32 gives 4e-7 (measured);
periods that bfloat16 rounded give 1e-2, a base of 100.1 for 100 gives 1e-4."""

Rotation: TypeAlias = "tuple[Any, Any]"
"""Sines and cosines, (patches, head dimension) each."""


@dataclass(frozen=True)
class RotationProof:
    """`difference` of sines and cosines from those of the base.

    Where the checkpoint's periods are rounded to bfloat16, the other two say how far outputs move, relative to the
    largest: `stored` if the periods alone are taken as stored, `in_bfloat16` if queries and keys are rotated in
    bfloat16 too, as upstream does with every model that it trains.
    """

    difference: float
    stored: float | None = None
    in_bfloat16: float | None = None

    @property
    def passed(self) -> bool:
        return self.difference <= GATE


@contextmanager
def kept_rotation(model: Any) -> Iterator[list[Rotation]]:
    """Yield a list that a forward pass of `model` adds its sines and cosines to; it stays empty without any."""
    found: list[Rotation] = []
    modules = [module for name, module in model.named_modules() if name.split(".")[-1] == "rope_embeddings"]
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: found.append((output[1], output[0])))
        for module in modules
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def difference(theirs: Rotation, architecture: DinoV3ViT, size: tuple[int, int]) -> float:
    """How far sines and cosines are from those of the architecture's base for a picture of (height, width) pixels."""
    from dinoport.networks.rotary_vit.forward import rotation_of_base

    rows, columns = (side // architecture.patch_size for side in size)
    own = rotation_of_base(architecture, rows, columns)
    if any(one.shape != other.shape for one, other in zip(own, theirs, strict=True)):
        return float("inf")
    return max(float((one - other.double()).abs().max()) for one, other in zip(own, theirs, strict=True))


def bases_of(theirs: Rotation, architecture: DinoV3ViT, size: tuple[int, int]) -> Iterator[float]:
    """The base that sines and cosines were computed with, read from their angles, to more and more digits.

    The last angle of the first row below the middle, which is far below π, is 2π · y / base^(1 - 1/n),
    with n angles in all. None where there is but one angle, or one row.
    """
    import torch

    rows, columns = (side // architecture.patch_size for side in size)
    sines, cosines = (each.double() for each in theirs)
    count = sines.shape[-1] // 4
    row = (rows + 1) // 2
    y = (2 * row + 1) / rows - 1
    if count < 2 or rows < 2 or sines.shape[0] != rows * columns:
        return
    angle = float(torch.atan2(sines[row * columns, count - 1], cosines[row * columns, count - 1]))
    if angle <= 0:
        return
    base = (2 * math.pi * y / angle) ** (count / (count - 1))
    yield from dict.fromkeys(float(f"{base:.{digits}g}") for digits in range(1, 7))
