"""The outputs proof: a network's own forward pass over canonical tensors, against a class that a library loaded.

Both run in float64, where equal means a relative difference near 1e-15 and the smallest known mistake (a LayerNorm
eps of 1e-12 for 1e-6) makes one far above the gate. How far the class in float32 is from the original in float64, all
of it rounding where the models are equal, is reported and not judged.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from dinoport.codebases.running import Pass
from dinoport.exports.evaluation import BrokenGraphError
from dinoport.mapping.computation import is_merged
from dinoport.mapping.plan import unrounded
from dinoport.progress import aside
from dinoport.proofs.comparison import (
    Comparison,
    given_table_distance,
    noise_of,
    own_pass,
    state_as_written,
    table_distance,
)
from dinoport.proofs.dependence import compare_blocks, is_blind
from dinoport.proofs.difference import Difference, compare, largest
from dinoport.proofs.verdict import GATE
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


def prove(
    case: Comparison,
    pixels: Array,
    picture: str,
    other_sizes: tuple[tuple[int, int], ...] = (),
    own: Future[Pass | None] | None = None,
) -> OutputsProof:
    """Run both sides on `pixels`, (batch, channels, height, width), and on noise of the other sizes.

    `own` is the network's own pass on `pixels`, where that has begun already.
    """
    import torch

    height, width = pixels.shape[-2:]
    proof = OutputsProof((height, width), picture, torch.__version__)
    with torch.inference_mode():
        source = Weights(floats(case.tensors))
        state = state_as_written(case)
        if case.baked is not None and case.architecture.positions:
            distance = table_distance(case, source, state[case.architecture.positions], (case.image_size,) * 2)
            proof = replace(proof, table=distance)
            if distance > ROUNDINGS[case.baked.dtype.name]:
                return replace(proof, failure="the baked position table is not the original's")
        images = torch.from_numpy(pixels).double()
        rounded: Sequence[Mapping[str, Any]] = ()
        own = own or aside(lambda: own_pass(case, pixels))
        narrow, theirs = case.runner.run_both(pixels)
        ours = own.result()
        if ours is None:
            ours, rounded = case.forward_rotated(state, images, case.shared(theirs))
        blocks, drowned, failure = compare_blocks(ours, theirs)
        given = given_table_distance(case, state, theirs, (height, width))
        if given is not None and given > case.table_limit:
            failure = "the position table is not the original's for this size"
        proof = replace(
            proof,
            float64=compare(ours.outputs, theirs.outputs),
            float32=compare(ours.outputs, narrow.outputs),
            blocks={
                name: (
                    found,
                    Difference.between(ours.blocks[name], narrow.blocks[name]) if name in narrow.blocks else None,
                )
                for name, found in blocks.items()
            },
            drowned=drowned,
            failure=failure,
            rotation=_rotation(case, (height, width), theirs, rounded),
            table=proof.table if given is None else given,
            undefined=sum(int((~output.isfinite()).sum()) for output in ours.outputs.values()),
            blind=is_blind(case, images, theirs),
        )
        proof = _with_roundings(proof, case, source, images, ours)
        sizes, uncomputed = _at_other_sizes(case, other_sizes, pixels)
    return replace(proof, other_sizes=sizes, uncomputed=uncomputed)


def _with_roundings(
    proof: OutputsProof, case: Comparison, source: Mapping[str, Any], images: Any, ours: Pass
) -> OutputsProof:
    """What a cast, tokens that were added up, and merged weights move the outputs by. The two last have a limit."""
    failures = [proof.failure]
    if case.cast is not None or case.as_stored:
        exact = case.forward({**source, **Weights(floats(case.as_stored))}, images, ours.shared)
        moved = largest(compare(exact.outputs, ours.outputs))
        proof = replace(proof, summed=moved) if case.cast is None else replace(proof, rounding=moved)
        if proof.summed and moved.relative > SUM_STEPS * max(map(_step, case.as_stored.values())):
            failures.append(f"tokens that were added up in advance move outputs by {moved.relative:.1e}")
    if computed := {name: each for name, each in floats(case.tensors).items() if is_merged(each.values)}:
        unmerged = Weights({name: unrounded(each) for name, each in computed.items()})
        exact, rounded = (case.forward(each, images, ours.shared) for each in ({**source, **unmerged}, source))
        moved = largest(compare(exact.outputs, rounded.outputs))
        proof = replace(proof, merged=moved)
        if moved.relative > MERGED_STEPS * max(map(_step, computed.values())):
            failures.append(f"outputs move by {moved.relative:.1e} where adapters are merged")
    return replace(proof, failure=next(filter(None, failures), None))


def _at_other_sizes(
    case: Comparison, others: tuple[tuple[int, int], ...], pixels: Array
) -> tuple[dict[tuple[int, int], Difference], dict[tuple[int, int], str]]:
    """The largest difference on noise of each other size, and why the other side computes nothing at some."""
    import torch

    sizes: dict[tuple[int, int], Difference] = {}
    uncomputed: dict[tuple[int, int], str] = {}
    stored = Weights(floats(case.tensors), case.cast, case.kept)
    for size in others:
        noise = torch.from_numpy(noise_of(pixels.shape[1], size, len(pixels))).double()
        try:
            other = case.runner.run(noise)
        except BrokenGraphError as error:
            uncomputed[size] = str(error)
            continue
        away = given_table_distance(case, stored, other, size)
        apart = away is not None and away > case.table_limit  # the difference is to be seen
        shared = {} if apart else case.shared(other)
        sizes[size] = largest(compare(case.forward(stored, noise, shared).outputs, other.outputs))
    return sizes, uncomputed


def _step(tensor: TensorRef) -> float:
    return ROUNDINGS[tensor.dtype.name]


def _rotation(case: Comparison, size: tuple[int, int], theirs: Pass, rounded: Sequence[Mapping[str, Any]]) -> Any:
    """The rotary positions by themselves; None without any."""
    shared, code = case.shared(theirs), case.architecture.network.rotation_code
    if code is None or not shared:
        return None
    moved = [largest(compare(outputs, theirs.outputs)).relative for outputs in rounded]
    found = code.proof_of(case.architecture, size, shared["rotation"], moved)
    return replace(found, limit=max(found.limit, case.table_limit))
