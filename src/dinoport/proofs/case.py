"""What is proven: two sides that should hold the same model, and what is known of how one was made of the other.

Two sides may compute the same where one keeps otherwise what the other does, and are made alike to be compared. A
codebase that has no place for rotary periods keeps their base; timm adds the CLS token's row of a position table to
that token.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.codebases.codebase import HubEntry
from dinoport.codebases.running import LoadingProof, Runner
from dinoport.mapping.computation import added, without_start
from dinoport.mapping.operations import BakeTable, DropClsRow, Kind
from dinoport.mapping.plan import Step, computed
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


def with_periods(case: Case) -> Case:
    """The same case, where bfloat16 has rounded the rotary periods, and one side keeps their base alone.

    What rounding does is measured where a class runs that side, and said in any case.
    """
    source, target = case.source.model, case.target.model
    rotation = source.architecture.network.rotation_code
    if rotation is None:
        return case
    stored = [rotation.stores_periods(each.decoding.tensors, each.decoding.declared) for each in (source, target)]
    if stored == [False, True]:
        rounded = rotation.rounded_as_in(source.architecture, target.decoding.tensors)
        if rounded is None:
            return case
        declared = replace(target.decoding.steps[rotation.PERIODS], kind=Kind.SYNTHESISED)
        source = _with(replace(source, architecture=rounded), {**source.decoding.steps, rotation.PERIODS: declared})
        target = replace(target, architecture=rounded)
    elif not stored[1] and case.target.runner is None and source.architecture.rope_rounded:  # type: ignore[attr-defined]  # it rotates
        declared = replace(source.decoding.steps[rotation.PERIODS], kind=Kind.SYNTHESISED)
        target = _with(target, {**target.decoding.steps, rotation.PERIODS: declared})
    return replace(case, source=replace(case.source, model=source), target=replace(case.target, model=target))


CLS = "cls_token"


def with_sums(case: Case) -> Case:
    """The same case, where one side alone keeps the sum of the CLS token and its row: both have that sum."""
    table = case.source.model.architecture.positions or ""
    sides = (case.source, case.target)
    steps = [side.model.decoding.steps.get(table) for side in sides]
    folded = [step is not None and isinstance(step.operation, DropClsRow) for step in steps]
    if case.unused is None or case.as_stored or None in steps or folded[0] == folded[1]:
        return case
    side = sides[folded.index(False)]
    own = {name: side.model.tensors[name] for name in (CLS, table)}
    sums = (added(own[CLS], own[table]), without_start(own[table], own[CLS].size))
    summed = replace(side, model=_replacing(side.model, {each.name: computed(each) for each in sums}))
    alike = replace(case, source=summed) if side is case.source else replace(case, target=summed)
    return replace(alike, as_stored=own)


def as_run(case: Case, summed: Case) -> Case:
    """The case that outputs are compared by, where both sides have the same sums: a class adds up what lies on disk."""
    if summed.theirs.runner is None or summed.as_stored is case.as_stored:
        return summed
    names = summed.as_stored
    ours, theirs = case.ours, {name: case.theirs.model.decoding.steps[name] for name in names}
    taking = replace(ours, model=_replacing(ours.model, theirs))
    alike = replace(case, source=taking) if ours is case.source else replace(case, target=taking)
    return replace(alike, as_stored={name: ours.model.tensors[name] for name in names})


def _replacing(model: Model, steps: dict[str, Step]) -> Model:
    return _with(model, {**model.decoding.steps, **steps})


def _with(model: Model, steps: dict[str, Step]) -> Model:
    return replace(model, decoding=replace(model.decoding, steps=steps))
