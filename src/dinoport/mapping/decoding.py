"""From a codebase's names to the canonical ones: the same rules, read from right to left.

Every tensor of a file has one fate: it is a canonical tensor or a part of one, it was made for the codebase, or it is
left aside for a reason; else it is a problem.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from dinoport.mapping.claims import Claim, Problem, claims_of_source, claims_of_target, only_claim
from dinoport.mapping.computation import is_merged
from dinoport.mapping.constants import zeros
from dinoport.mapping.encoding import common_dtype, declared_step
from dinoport.mapping.operations import Kind, Rows, ShapeMismatchError
from dinoport.mapping.plan import Dropped, Span, Step
from dinoport.mapping.rule import Rule, copy
from dinoport.tensor import TensorRef, TensorSpec


class Made(NamedTuple):
    """A tensor of the file that a codebase needs and no canonical one gives: it should hold what its rule declares."""

    rule: Rule
    tensor: TensorRef


@dataclass(frozen=True)
class Decoding:
    """The canonical tensors of a file, and what became of all its others.

    `steps` say of which tensors of the file each is joined. What the codebase has no place for is declared: its step is
    synthesised, or has a span that the file does not hold. `beside` are the tensors that were left aside by a rule.
    """

    steps: Mapping[str, Step]
    made: tuple[Made, ...] = ()
    aside: tuple[Dropped, ...] = ()
    problems: tuple[Problem, ...] = ()
    rules: tuple[Rule, ...] = field(default=(), repr=False)
    beside: Mapping[str, TensorRef] = field(default_factory=dict, repr=False)

    @cached_property
    def tensors(self) -> dict[str, TensorRef]:
        """Every canonical tensor by name, as a handle that is read in blocks."""
        return {name: step.tensor() for name, step in self.steps.items()}

    @cached_property
    def stored(self) -> dict[str, TensorRef]:
        """Every tensor of the file that is a part of the model, or was made for the codebase, by its own name."""
        spans = (span for step in self.steps.values() for span in step.spans if step.kind is not Kind.SYNTHESISED)
        parts = {span.tensor.name: span.tensor for span in spans if not span.is_declared}
        return parts | {made.tensor.name: made.tensor for made in self.made}

    @property
    def declared(self) -> dict[str, str]:
        """The canonical tensors that the file does not hold, and what they are taken as."""
        return {name: step.reason for name, step in self.steps.items() if step.kind is Kind.SYNTHESISED}

    def carrying(self, names: Collection[str]) -> Decoding:
        """The same, with those of these names that are `beside` as canonical tensors."""
        own = {name: tensor for name, tensor in self.beside.items() if name in names}
        carried = decode(own, tuple(copy(name, name) for name in own))
        aside = tuple(each for each in self.aside if each.name not in own)
        return replace(self, steps={**self.steps, **carried.steps}, aside=aside, rules=(*self.rules, *carried.rules))


def decode(tensors: Mapping[str, TensorRef], rules: Sequence[Rule], drops: Sequence[Rule] = ()) -> Decoding:
    """Give `tensors` their canonical names, and leave aside what `drops` claim. Nothing is read."""
    parts: dict[str, dict[int, TensorRef]] = {}
    by_source: dict[str, Claim] = {}
    made: list[Made] = []
    aside: list[Dropped] = []
    beside: dict[str, TensorRef] = {}
    problems: list[Problem] = []
    for name, tensor in tensors.items():
        if dropped := claims_of_source(name, drops):
            rule = dropped[0].rule
            aside.append(Dropped(name, tensor.dtype, tensor.shape, rule.reason, anew=rule.anew))
            beside[name] = tensor
            continue
        claim = only_claim(name, claims_of_target(name, rules), problems)
        if claim is None:
            continue
        source = claim.source
        if source is None:
            made.append(Made(claim.rule, tensor))
            continue
        by_source[source] = claim
        if parts.setdefault(source, {}).setdefault(claim.part, tensor) is not tensor:
            problems.append(Problem(name, f"is a second tensor for one place of {source}"))
    steps = {}
    for source, claim in by_source.items():
        step = _joined(source, claim, parts[source], problems)
        if step is not None:
            steps[source] = step
    steps |= second_names(rules, steps)
    common = common_dtype(step.target for step in steps.values())
    for rule in rules:
        if rule.source and rule.constant:
            step = declared_step(rule, rule.source.template, rule.constant.dtype or common)
            steps[rule.source.template] = replace(step, reason=f"{rule.constant} ({rule.reason})")
    return Decoding(steps, tuple(made), tuple(aside), tuple(problems), tuple(rules), beside)


def second_names(rules: Sequence[Rule], steps: Mapping[str, Step]) -> dict[str, Step]:
    """The steps of tensors that the canonical model has under two names, under the second."""
    found: dict[str, Step] = {}
    for rule in rules:
        for step in steps.values() if rule.alias else ():
            bindings = rule.alias.match(step.target.name) if rule.alias else None
            if bindings is not None and rule.source:
                name = rule.source.fill(bindings)
                found[name] = replace(step, target=step.target._replace(name=name))
    return found


def _joined(source: str, claim: Claim, parts: Mapping[int, TensorRef], problems: list[Problem]) -> Step | None:
    rule = claim.rule
    # What has no inverse, a resampled table, is taken as it is.
    operation = rule.operation if rule.kind is Kind.BIJECTIVE else Rows()
    first = next(iter(parts.values()))
    spans = []
    for part in range(operation.parts):
        target, tensor = claim.target(part), parts.get(part)
        if target is not None and tensor is None:
            problems.append(Problem(target, "is missing"))
        if tensor is not None and (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            problems.append(Problem(tensor.name, "differs in shape or dtype from the tensors that it is joined with"))
        held = zeros(*first.shape).tensor(source, first.dtype) if tensor is None else tensor
        spans.append(Span(held, 0, held.size, is_declared=tensor is None))
    try:
        shape = operation.source_shape(first.shape)
        operation.target_shape(shape)
    except ShapeMismatchError as error:
        problems.append(Problem(first.name, f"has a shape that does not fit: {error}"))
        return None
    spec = TensorSpec(source, first.dtype, shape)
    kind = Kind.RECOMPUTED if any(is_merged(span.tensor.values) for span in spans) else rule.kind
    return Step(spec, tuple(spans), operation, kind, shape, rule.reason, inverted=True)
