"""What is known of a graph besides its tensors and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dinoport.proofs.difference import Difference
from dinoport.proofs.verdict import RUNTIME_GATE
from dinoport.shown.lines import figure, limit_text


@dataclass(frozen=True)
class ExportedProof:
    """What is known of a graph besides its tensors and outputs.

    `healed` are single numbers that were read as they were meant, by place: written, and meant. `folded` says by name
    what tensors were computed of, `tables` are those of positions, `remaining` are in no form of the original, and
    `missing` are tensors of the original that the file does not hold as they are. `unhealed` is how far outputs are
    with every constant as it is written. `runtime` says which runtime ran the file, `runtime_difference` how far its
    outputs are, and `runtime_unshown` why none ran. `quantized` names the operators that compute with whole numbers;
    `uncompared` the outputs that are not the network's. `rounds` says that the file computes in less than float32,
    where a runtime's outputs have no limit. `alone` is why it cannot compute two pictures at once, where it claims to.
    """

    producer: str
    opset: int
    any_size: bool = False
    healed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    folded: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unhealed: Difference | None = None
    runtime: str | None = None
    runtime_difference: Difference | None = None
    runtime_unshown: str | None = None
    quantized: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()
    rounds: bool = False
    alone: str | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """What keeps a graph from being equal, besides its tensors and outputs."""
        found = []
        if self.quantized:
            found.append(f"weights are quantized to whole numbers ({', '.join(self.quantized)})")
        single = self.runtime_difference
        if single is not None and single.relative > RUNTIME_GATE and not self.rounds:
            differ = figure(single.relative, RUNTIME_GATE)
            allowed = f"where {limit_text(RUNTIME_GATE)} is allowed"
            found.append(f"{self.runtime} computes outputs that differ by {differ}, {allowed}")
        return tuple(found)

    @property
    def exceptions(self) -> tuple[str, ...]:
        """What the file claims to compute, and cannot."""
        many = "for more than one picture at once, which the file claims to take and cannot compute"
        return (f"{many} ({self.alone})",) if self.alone else ()

    @property
    def not_shown(self) -> tuple[str, ...]:
        found = [f"the runtime: {self.runtime_unshown}"] if self.runtime_unshown else []
        if self.uncompared:
            found.append(f"the outputs {', '.join(self.uncompared)}, which are not the network's")
        return tuple(found)
