"""Two sides that compute the same where one names tensors that the other leaves out: made alike to be compared.

A codebase that has no place for rotary periods keeps their base; one that always has a layer scale or a bias holds the
ones or zeros that change nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from dinoport.mapping.decoding import Decoding
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Step
from dinoport.model import Model
from dinoport.proofs.case import Case

NEUTRAL = {re.compile(r"blocks\.\d+\.ls\d\.gamma"): 1, re.compile(r"blocks\.\d+\.(attn|mlp)\.\w+\.bias"): 0}
"""Tensors that a model can do without, and the one value with which they change nothing."""


def without_neutral(case: Case) -> Case:
    """The same case, where tensors that change nothing and that one side alone holds are left out of the comparison."""
    source, target = case.source.model.decoding.steps, case.target.model.decoding.steps
    kept = {name: step for name, step in target.items() if name in source or not _is_neutral(name, step)}
    lacking = {name: step for name, step in source.items() if name not in target and _is_neutral(name, step)}
    added = {name: replace(step, kind=Kind.SYNTHESISED, reason=CHANGES_NOTHING) for name, step in lacking.items()}
    return replace(case, target=replace(case.target, model=_with(case.target.model, {**kept, **added})))


CHANGES_NOTHING = "it changes nothing with this value"


def _is_neutral(name: str, step: Step) -> bool:
    value = next((value for pattern, value in NEUTRAL.items() if pattern.fullmatch(name)), None)
    return value is not None and all((block == value).all() for block in step.blocks())


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


def _with(model: Model, steps: dict[str, Step]) -> Model:
    decoding: Decoding = replace(model.decoding, steps=steps)
    return replace(model, decoding=decoding)
