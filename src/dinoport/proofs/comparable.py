"""Two sides that compute the same where one keeps otherwise what the other does: made alike to be compared.

A codebase that has no place for rotary periods keeps their base; timm adds the CLS token's row of a position table to
that token.
"""

from dataclasses import replace

from dinoport.mapping.computation import added, without_start
from dinoport.mapping.decoding import Decoding
from dinoport.mapping.operations import DropClsRow, Kind
from dinoport.mapping.plan import Step, computed
from dinoport.model import Model
from dinoport.proofs.case import Case


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
    decoding: Decoding = replace(model.decoding, steps=steps)
    return replace(model, decoding=decoding)
