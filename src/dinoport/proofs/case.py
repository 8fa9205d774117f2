"""What is proven: two sides that should hold the same model, and what is known of how one was made of the other."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.codebases.codebase import HubEntry
from dinoport.codebases.running import LoadingProof, Runner
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.rule import Rule
from dinoport.model import Model
from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.compared import Compared
from dinoport.tensor import TensorRef


@dataclass(frozen=True)
class Side:
    """One of two places that should hold the same model. `runner` runs it by a class of its own, if it has one.

    `on_top` are tensors beside the model that give outputs of their own. `processor` is the folder whose image
    processor is to be proven, if there is one, `load_processor` what loads it where that is not Transformers. `loads`
    says what becomes of it where something loads it by names and shapes alone.
    """

    model: Model
    runner: Runner | None = None
    processor: Path | None = None
    load_processor: Callable[[Path], Any] | None = None
    loads: Callable[[], LoadingProof] | None = None
    on_top: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A source, and what was made of it.

    `image_size` is what the target was made for, `preprocessing` the transform that a target with a processor should
    have. `cast` is the dtype that weights were rounded to, `baked` the operation that resampled the position table.
    `others` are the source's other copies of the model, by their labels: what a target may hold by mistake. `genuine`
    is what builds the model in the original's own code, where a comparison with that is asked for. `known` is what was
    compared while the target was written. `unused` are tensors that no output depends on, where the target need not be
    what a conversion of the source writes. `as_stored` are the source's own tensors where the target has others that
    compute the same, and the source's model these.
    """

    source: Side
    target: Side
    image_size: int
    preprocessing: Preprocessing | None = None
    cast: np.dtype[np.generic] | None = None
    baked: BakeTable | None = None
    others: Mapping[str, Mapping[str, TensorRef]] = field(default_factory=dict)
    genuine: HubEntry | None = None
    known: Mapping[str, Compared] = field(default_factory=dict)
    unused: Collection[str] | None = None
    as_stored: Mapping[str, TensorRef] = field(default_factory=dict)

    @property
    def ours(self) -> Side:
        """The side that the network's own forward pass runs: the one that no class runs, if there is one."""
        return self.source if self.target.runner or not self.source.runner else self.target

    @property
    def theirs(self) -> Side:
        return self.target if self.ours is self.source else self.source

    @property
    def anew(self) -> Mapping[str, BakeTable]:
        """The operations without an inverse, by canonical name."""
        positions = self.source.model.architecture.positions
        return {positions: self.baked} if self.baked and positions else {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The table of the target, with what was resampled on the way."""
        own = self.source.model.architecture.positions
        return tuple(
            replace(rule, operation=self.baked) if self.baked and rule.source and rule.source.template == own else rule
            for rule in self.target.model.decoding.rules
        )
