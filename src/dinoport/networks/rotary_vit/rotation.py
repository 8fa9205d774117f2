"""Rotary positions, apart from everything else that the outputs proof compares.

Transformers computes the angles in float32, whatever the model's dtype, from a base that the config holds; upstream
takes the periods that the checkpoint holds. So outputs are compared with the class's own sines and cosines on both
sides, which leaves float64's precision to all the rest, and the sines and cosines are compared by themselves.
"""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from dinoport.networks.network import ROTATION_GATE
from dinoport.networks.rotary_vit.architecture import PERIODS, RotaryViT
from dinoport.networks.rotary_vit.rope import FLOAT32_STEPS, distance, rounds_to
from dinoport.tensor import TensorRef

Rotation: TypeAlias = "tuple[Any, Any]"
"""Sines and cosines, (patches, head dimension) each."""


@dataclass(frozen=True)
class RotationProof:
    """`difference` of sines and cosines from those of the base.

    Where the checkpoint's periods are rounded to bfloat16, the other two say how far outputs move, relative to the
    largest: `stored` if the periods alone are taken as stored, `in_bfloat16` if queries and keys are rotated in
    bfloat16 too, as upstream does with every model that it trains. `limit` is the largest difference that counts as
    equal: larger where the other side keeps its sines and cosines in less than float32.
    """

    difference: float
    stored: float | None = None
    in_bfloat16: float | None = None
    limit: float = ROTATION_GATE

    @property
    def passed(self) -> bool:
        return self.difference <= self.limit


def stores_periods(tensors: Container[str], declared: Container[str]) -> bool:
    """Whether a side has the periods themselves. Those that are only declared are computed from a base."""
    return PERIODS in tensors and PERIODS not in declared


def rounded_as_in(architecture: RotaryViT, tensors: Mapping[str, TensorRef]) -> RotaryViT | None:
    """The same model with its periods rounded, where `tensors` hold those of its base as bfloat16 rounds them."""
    if tensors[PERIODS].size != architecture.head_dim // 4:
        return None
    values = tensors[PERIODS].read().reshape(-1)
    exact = distance(values.astype("float64"), architecture.rope_theta) <= FLOAT32_STEPS
    return None if exact or not rounds_to(architecture.rope_theta, values) else replace(architecture, rope_rounded=True)


def rounded_rotations(state: Mapping[str, Any], architecture: RotaryViT, size: tuple[int, int]) -> tuple[Rotation, ...]:
    """What the stored periods give for a picture of (height, width) pixels, where bfloat16 has rounded them.

    First with all else as in the class, then in bfloat16, as in training.
    """
    if not architecture.rope_rounded:
        return ()
    import torch

    from dinoport.networks.rotary_vit.forward import rotation_of_state

    rows, columns = (side // architecture.patch_size for side in size)
    stored = rotation_of_state(state, architecture, rows, columns, torch.float32)
    trained = rotation_of_state(state, architecture, rows, columns, torch.bfloat16)
    return (stored[0].double(), stored[1].double()), trained


def proof_of(
    architecture: RotaryViT, size: tuple[int, int], theirs: Rotation, moved: Sequence[float] = ()
) -> RotationProof:
    """The rotary positions by themselves. `moved` is how far outputs move with each of the rounded rotations."""
    return RotationProof(difference(theirs, architecture, size), *moved)


def rotation_of(architecture: RotaryViT, rows: int, columns: int) -> Rotation:
    """The sines and cosines of the architecture's base for so many patches, in float64."""
    from dinoport.networks.rotary_vit.forward import rotation_of_base

    return rotation_of_base(architecture, rows, columns)


def difference(theirs: Rotation, architecture: RotaryViT, size: tuple[int, int]) -> float:
    """How far sines and cosines are from those of the architecture's base for a picture of (height, width) pixels."""
    rows, columns = (side // architecture.patch_size for side in size)
    own = rotation_of(architecture, rows, columns)
    if any(one.shape != other.shape for one, other in zip(own, theirs, strict=True)):
        return float("inf")
    return max(float((one - other.double()).abs().max()) for one, other in zip(own, theirs, strict=True))


def bases_of(theirs: Rotation, architecture: RotaryViT, size: tuple[int, int]) -> Iterator[float]:
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
