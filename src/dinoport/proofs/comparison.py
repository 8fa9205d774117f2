"""What the outputs proof compares: a network's own forward pass over canonical tensors, and the other side's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dinoport import __version__
from dinoport.codebases.running import LoadingProof, Pass, Runner
from dinoport.model import Model
from dinoport.networks.network import Architecture
from dinoport.proofs.difference import Difference
from dinoport.proofs.weights import Weights, floats
from dinoport.tensor import Array, TensorRef

TABLE_GATE = 1e-5
"""Largest difference of a resampled position table that counts as equal, relative to its largest value. Interpolated in
float32 it is 1e-6 off; by another rule, 1e-3 and more."""


@dataclass(frozen=True)
class Comparison:
    """Everything that the outputs proof compares.

    `tensors` are the canonical ones that the network's own forward pass computes with, `runner` is the other side.
    `baked` is that side's position table if it was resampled for `image_size`, `cast` the dtype that every weight was
    rounded to, if any, but for those in `kept`. `as_stored` are those of the tensors that the original has otherwise
    and adds up in each pass. `zeros` says that a matrix is zero throughout. `has_tables` says that the other side has a
    resampled position table of its own: it is compared by itself, up to `table_limit`, and given to the network's pass.
    `on_block` hears of every block that is done.
    """

    architecture: Architecture
    tensors: Mapping[str, TensorRef]
    runner: Runner
    image_size: int
    cast: np.dtype[Any] | None = None
    baked: TensorRef | None = None
    as_stored: Mapping[str, TensorRef] = field(default_factory=dict)
    zeros: bool = False
    has_tables: bool = False
    table_limit: float = TABLE_GATE
    kept: frozenset[str] = frozenset()
    on_block: Callable[[str], None] = lambda name: None

    @property
    def needs_tables(self) -> bool:
        """Whether the network's own pass waits for the other side's sines and cosines, or its position table."""
        return bool(self.architecture.network.rotation) or self.has_tables

    def forward(self, state: Mapping[str, Any], images: Any, shared: Mapping[str, Any] | None = None) -> Pass:
        """One pass of the network's own; `shared` is what the other side's pass gives it."""
        blocks: dict[str, Any] = {}

        def observe(name: str, output: Any) -> None:
            own = output[: len(images)]
            blocks[name] = own.clone() if len(own) < len(output) else own  # a view would keep all of the batch
            self.on_block(name)

        outputs = self.architecture.network.code.forward(state, self.architecture, images, observe, **(shared or {}))
        return Pass(outputs, blocks, shared or {})

    def forward_rotated(
        self, state: Mapping[str, Any], images: Any, shared: Mapping[str, Any]
    ) -> tuple[Pass, list[dict[str, Any]]]:
        """The same pass, and the outputs with each rounded rotation. One sweep over the weights gives all of them."""
        rotation = self.architecture.network.rotation_code
        size = images.shape[-2:]
        others = rotation.rounded_rotations(state, self.architecture, size) if "rotation" in shared else ()
        found = self.forward(state, images, {**shared, "others": others} if others else shared)
        parts = zip(*(each.split(len(images)) for each in found.outputs.values()), strict=True)
        first, *rest = (dict(zip(found.outputs, part, strict=True)) for part in parts)
        return replace(found, outputs=first, shared=shared), rest

    def shared(self, theirs: Pass, architecture: Any = None) -> Mapping[str, Any]:
        """What the other side's pass gives the network's own: sines and cosines that fit its heads, and its table."""
        rotation, architecture = theirs.shared.get("rotation"), architecture or self.architecture
        fits = rotation is not None and rotation[0].shape[-1] == getattr(architecture, "head_dim", None)
        table = theirs.shared.get("positions")
        return {**({"rotation": rotation} if fits else {}), **({} if table is None else {"positions": table})}


class NetworkRunner:
    """A side that no library has a class for, in float64; in float32 nobody runs it so, and that pass is the same."""

    def __init__(self, model: Model) -> None:
        self._architecture, self._state = model.architecture, Weights(floats(model.tensors))
        self._title = model.title

    absent = None
    imports = ()

    def load(self, dtype: str) -> LoadingProof:
        """Nothing is loaded: a tensor of another shape than the model's would end its pass."""
        wanted, table = self._architecture.tensors(), self._architecture.positions
        held = {name: tensor.shape for name, tensor in self._state.tensors.items() if name != table}
        mismatched = tuple(name for name, shape in held.items() if wanted.get(name, shape) != shape)
        return LoadingProof(self._title, __version__, library="dinoport", mismatched=mismatched)

    def run(self, images: Any) -> Pass:
        blocks: dict[str, Any] = {}
        network = self._architecture.network
        return Pass(network.code.forward(self._state, self._architecture, images, blocks.__setitem__), blocks)

    def run_both(self, pixels: Array) -> tuple[Pass, Pass]:
        import torch

        wide = self.run(torch.from_numpy(pixels).double())
        return wide, wide

    def attention(self, images: Any) -> tuple[Pass, Any]:
        found = self.run(images)
        return found, None


def own_pass(case: Comparison, pixels: Array) -> Pass | None:
    """The network's own pass by itself; None for one that needs the other side's tables."""
    import torch

    if case.needs_tables:
        return None
    with torch.inference_mode():
        return case.forward(state_as_written(case), torch.from_numpy(pixels).double())


def state_as_written(case: Comparison) -> Weights:
    """The network's weights, rounded as the other side's were, with the position table that was baked for it."""
    baked = {case.architecture.positions: case.baked} if case.baked is not None and case.architecture.positions else {}
    return Weights({**floats(case.tensors), **baked}, case.cast, case.kept)


def noise_of(channels: int, size: tuple[int, int], count: int = 1) -> Array:
    """Standard normal values, (count, channels, height, width); the first are the same with any count."""
    return np.random.default_rng(0).standard_normal((count, channels, *size), dtype=np.float32)


def given_table_distance(
    case: Comparison, state: Mapping[str, Any], theirs: Pass, size: tuple[int, int]
) -> float | None:
    """How far the other side's resampled table is from the original's own for (height, width) pixels; None without."""
    table = theirs.shared.get("positions")
    return None if table is None else table_distance(case, state, table, size)


def table_distance(
    case: Comparison, state: Mapping[str, Any], table: Any, size: tuple[int, int], architecture: Any = None
) -> float:
    """How far a table is from what PyTorch makes of the original's own for (height, width) pixels.

    `architecture` has another interpolation than the original, where that is tried.
    """
    from dinoport.networks.torch_interpolation import interpolate_table

    architecture = architecture or case.architecture
    rows, columns = (side // architecture.cell for side in size)
    own = state[architecture.positions]
    made = interpolate_table(own, rows, columns, architecture.interpolation, architecture.first_rows)
    return Difference.between(made, table).relative
