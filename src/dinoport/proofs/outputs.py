"""The outputs proof: a network's own forward pass over canonical tensors, against a class that a library loaded.

Both run in float64, where equal means a relative difference near 1e-15 and the smallest known mistake (a LayerNorm
eps of 1e-12 for 1e-6) makes one far above the gate. How far the class in float32 is from the original in float64, all
of it rounding where the models are equal, is reported and not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dinoport.codebases.running import Pass, Runner
from dinoport.exports.evaluation import BrokenGraphError
from dinoport.mapping.merging import is_merged
from dinoport.mapping.plan import unrounded
from dinoport.networks.network import Architecture
from dinoport.proofs.difference import Difference as Difference
from dinoport.proofs.difference import compare as compare
from dinoport.proofs.difference import largest as largest
from dinoport.proofs.side_by_side import side_by_side
from dinoport.proofs.verdict import GATE as GATE
from dinoport.proofs.weights import Weights, floats
from dinoport.tensor import Array, TensorRef

ROUNDINGS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""One unit in the last place, relative, of each dtype that a table can be stored in."""

SUM_STEPS = 16
"""Units in the last place that outputs may move by where two tokens were added up in advance: float32 gives one at
most (1e-8 … 5e-8 measured), a CLS row that is left out moves outputs by 1e-2."""

MERGED_STEPS = 84
"""Units in the last place that outputs may move by where weights were merged and rounded once, 1e-5 in float32:
rounding gives 4e-8 (measured), a scale that is wrong by a hundredth more than 1e-5."""

NOISE = 1e-13
"""Relative to what passes a block: rounding of float64 stays below it in all models that were measured (1e-15)."""

ROUNDING_OF_SUM = 2.0**-53
"""How much of what passes a block is lost when what the block adds is added to it."""

TABLE_GATE = 1e-5
"""Largest difference of a resampled position table that counts as equal, relative to its largest value. Interpolated in
float32 it is 1e-6 off; by another rule, 1e-3 and more."""

DROWNING = 1e-6
"""What passes a block is looked at for another input where it becomes less than this of what comes out."""


@dataclass(frozen=True)
class OutputsProof:
    """Differences by output name (`tokens`, `logits`, …) for an input of `size` (height, width) in pixels.

    `float64` and `float32` are the class's dtype; the original is in float64. `blocks` holds both, by the original's
    name and in its order, for what comes out of the embedding and of every block: the proof rests on the outputs,
    blocks say where a difference begins. `other_sizes` holds the largest relative difference in float64 by size;
    `rounding` that of a cast to a smaller dtype; `summed` that of tokens that the original adds up in each pass, and
    the other side has added up; `merged` that of weights that were merged and rounded, from merged ones that were not;
    `table` that of a baked position table from the original's own;
    `rotation` is the proof of rotary positions. `undefined` counts values of the original's own outputs that
    are not finite: they can be compared with nothing. `blind` says that the outputs do not depend on the picture: that
    they are equal then shows nothing. `drowned` are the blocks that add so little to what passes them that nothing is
    shown of them. `uncomputed` says of sizes that the other side claims why it cannot compute them, `unknown` why it
    was not run at all.
    """

    size: tuple[int, int]
    picture: str
    torch_version: str
    float64: Mapping[str, Difference] = field(default_factory=dict)
    float32: Mapping[str, Difference] = field(default_factory=dict)
    blocks: Mapping[str, tuple[Difference, Difference | None]] = field(default_factory=dict)
    other_sizes: Mapping[tuple[int, int], Difference] = field(default_factory=dict)
    rounding: Difference | None = None
    summed: Difference | None = None
    merged: Difference | None = None
    table: float | None = None
    rotation: Any = None
    undefined: int = 0
    blind: bool = False
    drowned: tuple[str, ...] = ()
    uncomputed: Mapping[tuple[int, int], str] = field(default_factory=dict)
    unknown: str | None = None
    failure: str | None = None

    @property
    def worst(self) -> float:
        return max((difference.relative for difference in self.float64.values()), default=float("inf"))

    @property
    def passed(self) -> bool:
        return self.unshown is None and not self.differs

    @property
    def unshown(self) -> str | None:
        """Why outputs that do not differ show nothing, where they don't."""
        if self.unknown:
            return self.unknown
        if self.differs:
            return None
        if self.undefined:
            return "the original's own are not finite"
        return "they do not depend on the picture" if self.blind else None

    @property
    def differs(self) -> bool:
        """Whether something was shown to be another; with undefined outputs, neither that nor equality may be."""
        if self.unknown:
            return False
        rotated = self.rotation is not None and not self.rotation.passed
        return self.failure is not None or self.worst > GATE or rotated


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

    def forward(self, state: Mapping[str, Any], images: Any, shared: Mapping[str, Any] | None = None) -> Pass:
        """One pass of the network's own; `shared` is what the other side's pass gives it."""
        blocks: dict[str, Any] = {}

        def observe(name: str, output: Any) -> None:
            blocks[name] = output
            self.on_block(name)

        outputs = self.architecture.network.code.forward(state, self.architecture, images, observe, **(shared or {}))
        return Pass(outputs, blocks, shared or {})

    def shared(self, theirs: Pass, architecture: Any = None) -> Mapping[str, Any]:
        """What the other side's pass gives the network's own: sines and cosines that fit its heads, and its table."""
        rotation, architecture = theirs.shared.get("rotation"), architecture or self.architecture
        fits = rotation is not None and rotation[0].shape[-1] == getattr(architecture, "head_dim", None)
        table = theirs.shared.get("positions")
        return {**({"rotation": rotation} if fits else {}), **({} if table is None else {"positions": table})}


def own_pass(case: Comparison, pixels: Array) -> Pass | None:
    """The network's own pass by itself; None for one that needs the other side's tables."""
    import torch

    if case.architecture.network.rotation or case.has_tables:
        return None
    with torch.inference_mode():
        return case.forward(state_as_written(case), torch.from_numpy(pixels).double())


def prove(
    case: Comparison,
    pixels: Array,
    picture: str,
    other_sizes: tuple[tuple[int, int], ...] = (),
    own: Pass | None = None,
) -> OutputsProof:
    """Run both sides on `pixels`, (batch, channels, height, width), and on noise of the other sizes.

    `own` is the network's own pass on `pixels`, where that is known already.
    """
    import torch

    height, width = pixels.shape[-2:]
    proof = OutputsProof((height, width), picture, torch.__version__)
    with torch.inference_mode():
        source = Weights(floats(case.tensors))
        state, table = state_as_written(case), None
        if case.baked is not None and case.architecture.positions:
            table = _table_of_original(source[case.architecture.positions], case)
            distance = table_distance(source, state[case.architecture.positions], case)
            proof = replace(proof, table=distance)
            if distance > ROUNDINGS[case.baked.dtype.name]:
                return replace(proof, failure="the baked position table is not the original's")
        images = torch.from_numpy(pixels).double()
        if own:
            ours, (narrow, theirs) = own, case.runner.run_both(pixels)
        else:
            ours, narrow, theirs = _both(case, state, pixels)
        blocks, drowned, failure = compare_blocks(ours, theirs)
        given = given_table_distance(case, state, theirs, (height, width))
        if given is not None and given > case.table_limit:
            failure = "the position table is not the original's for this size"
        proof = replace(
            proof,
            float64=compare(ours.outputs, theirs.outputs),
            float32=compare(ours.outputs, narrow.outputs),
            blocks={
                name: (found, _between(ours, narrow, name) if name in narrow.blocks else None)
                for name, found in blocks.items()
            },
            drowned=drowned,
            failure=failure,
            rotation=_rotation(case, state, images, theirs),
            table=proof.table if given is None else given,
            undefined=sum(int((~output.isfinite()).sum()) for output in ours.outputs.values()),
            blind=_is_blind(case, images, theirs),
        )
        if case.cast is not None or case.as_stored:
            weights: Mapping[str, Any] = {**source, **Weights(floats(case.as_stored))}
            if table is not None:
                weights = {**weights, str(case.architecture.positions): table}
            exact = case.forward(weights, images, ours.shared)
            moved = largest(compare(exact.outputs, ours.outputs))
            proof = replace(proof, summed=moved) if case.cast is None else replace(proof, rounding=moved)
            if proof.summed and moved.relative > SUM_STEPS * max(map(_step, case.as_stored.values())):
                failure = f"tokens that were added up in advance move outputs by {moved.relative:.1e}"
                proof = replace(proof, failure=proof.failure or failure)
        if computed := {name: each for name, each in floats(case.tensors).items() if is_merged(each.values)}:
            unmerged = Weights({name: unrounded(each) for name, each in computed.items()})
            exact, rounded = (case.forward(each, images, ours.shared) for each in ({**source, **unmerged}, source))
            moved = largest(compare(exact.outputs, rounded.outputs))
            proof = replace(proof, merged=moved)
            if moved.relative > MERGED_STEPS * max(map(_step, computed.values())):
                failure = f"outputs move by {moved.relative:.1e} where adapters are merged"
                proof = replace(proof, failure=proof.failure or failure)
        sizes: dict[tuple[int, int], Difference] = {}
        uncomputed: dict[tuple[int, int], str] = {}
        stored = Weights(floats(case.tensors), case.cast, case.kept)
        for size in other_sizes:
            noise = torch.from_numpy(np.repeat(noise_of(pixels.shape[1], size), len(pixels), axis=0)).double()
            try:
                other = case.runner.run(noise)
            except BrokenGraphError as error:
                uncomputed[size] = str(error)
                continue
            away = given_table_distance(case, stored, other, size)
            apart = away is not None and away > case.table_limit  # the difference is to be seen
            shared = {} if apart else case.shared(other)
            sizes[size] = largest(compare(case.forward(stored, noise, shared).outputs, other.outputs))
    return replace(proof, other_sizes=sizes, uncomputed=uncomputed)


def _step(tensor: TensorRef) -> float:
    return ROUNDINGS[tensor.dtype.name]


def _both(case: Comparison, state: Mapping[str, Any], pixels: Array) -> tuple[Pass, Pass, Pass]:
    """The network's own pass, and the other side's in float32 and in float64."""
    import torch

    images = torch.from_numpy(pixels).double()
    if case.architecture.network.rotation or case.has_tables:  # needs the other side's tables
        narrow, theirs = case.runner.run_both(pixels)
        return case.forward(state, images, case.shared(theirs)), narrow, theirs
    ours, (narrow, theirs) = side_by_side(lambda: case.forward(state, images), lambda: case.runner.run_both(pixels))
    return ours, narrow, theirs


def compare_blocks(ours: Pass, theirs: Pass) -> tuple[dict[str, Difference], tuple[str, ...], str | None]:
    """How far what comes out of each block differs, which blocks add too little to be seen, and what is wrong.

    A block adds to what passes it. Where that is much less, a difference of what it adds is nearly none of the sum: so
    it is held against what the block adds, as far as rounding lets it be seen.
    """
    found: dict[str, Difference] = {}
    drowned: list[str] = []
    failure, before = None, None
    for name, output in ours.blocks.items():
        if name not in theirs.blocks or theirs.blocks[name].shape != output.shape:  # what others call a block's end
            continue
        found[name] = difference = Difference.between(output, theirs.blocks[name])
        if before is not None and before.shape == output.shape and bool(output.isfinite().all()):
            passing, added = float(before.abs().max()), float((output - before).abs().max())
            rounding = NOISE * max(passing, added)
            if added * GATE < ROUNDING_OF_SUM * passing:
                drowned.append(name)
            if difference.absolute > max(rounding, GATE * added) and difference.relative <= GATE:
                failure = failure or f"what {name} adds differs by {difference.absolute / max(added, 1e-300):.1e} of it"
        before = output
    return found, tuple(drowned), failure


def _between(ours: Pass, theirs: Pass, name: str) -> Difference:
    return Difference.between(ours.blocks[name], theirs.blocks[name])


def _is_blind(case: Comparison, images: Any, theirs: Pass) -> bool:
    """Whether the other side gives the same for another picture; looked at where there is a sign of it."""
    import torch

    if not (case.zeros or _alike(theirs.outputs) or _drowns(theirs.blocks)):
        return False
    another = -torch.from_numpy(noise_of(images.shape[1], images.shape[2:])).double()
    differences = compare(theirs.outputs, case.runner.run(another).outputs)
    return bool(largest(differences).relative <= GATE)


def _drowns(blocks: Mapping[str, Any]) -> bool:
    """Whether what enters a block is hardly anything of what comes out, so that what came before may be lost there."""
    outputs = list(blocks.values())
    pairs = pairwise(outputs)
    return any(float(before.abs().max()) < DROWNING * float(after.abs().max()) for before, after in pairs)


def _alike(outputs: Mapping[str, Any]) -> bool:
    """Whether the outputs of neighbouring places are the same: of the last two patches, or of a map's last corner."""
    if "feature_map" in outputs:
        last, before = outputs["feature_map"][:, :, -1, -1], outputs["feature_map"][:, :, -1, 0]
    elif "tokens" in outputs:
        last, before = outputs["tokens"][:, -1], outputs["tokens"][:, -2]
    else:  # one vector a picture: only another picture can tell
        return True
    return bool(Difference.between(last, before).relative <= GATE)


def _rotation(case: Comparison, state: Mapping[str, Any], images: Any, theirs: Pass) -> Any:
    """The rotary positions by themselves; None without any."""
    shared, code = case.shared(theirs), case.architecture.network.rotation_code
    if code is None or not shared:
        return None
    found = code.proof_of(
        state,
        case.architecture,
        images,
        shared["rotation"],
        lambda outputs: largest(compare(outputs, theirs.outputs)).relative,
    )
    return replace(found, limit=max(found.limit, case.table_limit))


def state_as_written(case: Comparison) -> Weights:
    """The network's weights, rounded as the other side's were, with the position table that was baked for it."""
    baked = {case.architecture.positions: case.baked} if case.baked is not None and case.architecture.positions else {}
    return Weights({**floats(case.tensors), **baked}, case.cast, case.kept)


def given_table_distance(
    case: Comparison, state: Mapping[str, Any], theirs: Pass, size: tuple[int, int]
) -> float | None:
    """How far the other side's resampled table is from the original's own for (height, width) pixels; None without."""
    table = theirs.shared.get("positions")
    return None if table is None else resampled_distance(case, state, table, size)


def resampled_distance(
    case: Comparison, state: Mapping[str, Any], table: Any, size: tuple[int, int], architecture: Any = None
) -> float:
    """How far a table is from what an architecture makes of the original's own for (height, width) pixels."""
    from dinoport.networks.torch_interpolation import interpolate_table

    architecture = architecture or case.architecture
    rows, columns = (side // architecture.cell for side in size)
    own = interpolate_table(state[architecture.positions], rows, columns, architecture.interpolation)
    return Difference.between(own, table).relative


def table_distance(source: Mapping[str, Any], table: Any, case: Comparison, architecture: Any = None) -> float:
    """How far a baked position table is from the original's own for its size, relative to the largest value."""
    name = case.architecture.positions or ""
    return Difference.between(_table_of_original(source[name], case, architecture), table).relative


def _table_of_original(table: Any, case: Comparison, architecture: Any = None) -> Any:
    """The original's own interpolation of its table, computed by PyTorch."""
    from dinoport.networks.torch_interpolation import interpolate_table

    architecture = architecture or case.architecture
    patches = case.image_size // architecture.cell
    return interpolate_table(table, patches, patches, architecture.interpolation, architecture.first_rows)


def noise_of(channels: int, size: tuple[int, int]) -> Array:
    """Standard normal values, (1, channels, height, width)."""
    return np.random.default_rng(0).standard_normal((1, channels, *size), dtype=np.float32)


def noise_input(channels: int, size: int) -> Array:
    """An input of (1, channels, size, size) for models that no picture fits."""
    return noise_of(channels, (size, size))
