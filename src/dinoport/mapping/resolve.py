"""Rules applied to names: forwards to a target, backwards to an original.

The result is total and unambiguous, or comes with everything that keeps it from being so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dinoport.mapping.constants import zeros
from dinoport.mapping.operations import Kind, ShapeMismatchError
from dinoport.mapping.pattern import Bindings, Pattern
from dinoport.mapping.plan import Dropped, Plan, Span, Step
from dinoport.mapping.rule import Rule
from dinoport.tensor import Shape, TensorRef, TensorSpec


@dataclass(frozen=True)
class Problem:
    """One tensor that does not fit. Problems of one `what` are folded into one line."""

    name: str
    what: str


@dataclass(frozen=True)
class Resolution:
    """The plan as far as it goes, and everything that is wrong with it."""

    plan: Plan
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Claim:
    """A rule that a name fits: as its source, or as its target number `part`."""

    rule: Rule
    bindings: Bindings
    part: int = 0

    @property
    def source(self) -> str | None:
        return self.rule.source.fill(self.bindings) if self.rule.source else None

    def target(self, part: int) -> str | None:
        pattern = self.rule.targets[part]
        return pattern.fill(self.bindings) if pattern else None


def claims_of_source(name: str, rules: Iterable[Rule]) -> list[Claim]:
    found = ((rule, rule.source.match(name)) for rule in rules if rule.source)
    return [Claim(rule, bindings) for rule, bindings in found if bindings is not None]


def claims_of_target(name: str, rules: Iterable[Rule]) -> list[Claim]:
    claims = []
    for rule in rules:
        for part, pattern in enumerate(rule.targets):
            bindings = pattern.match(name) if pattern else None
            if bindings is not None:
                claims.append(Claim(rule, bindings, part))
    return claims


def forwards(tensors: Mapping[str, TensorRef], rules: Sequence[Rule], dtype: np.dtype[Any] | None = None) -> Resolution:
    """Plan every target tensor from the originals in `tensors`.

    `dtype` casts what is floating; integers (BatchNorm's counters) stay as they are. None keeps every dtype.
    """
    steps: list[Step] = []
    dropped: list[Dropped] = []
    problems: list[Problem] = []
    for name, tensor in tensors.items():
        claim = _only_claim(name, claims_of_source(name, rules), problems)
        if claim is None:
            continue
        if claim.rule.kind is Kind.DROPPED:
            returns = claim.rule.constant is not None or claim.rule.alias is not None
            dropped.append(Dropped(name, tensor.dtype, tensor.shape, claim.rule.reason, returns))
            continue
        try:
            shape = claim.rule.operation.target_shape(tensor.shape)
        except ShapeMismatchError as error:
            problems.append(Problem(name, f"has a shape that does not fit: {error}"))
            continue
        _split(claim, tensor, TensorSpec("", _cast(tensor.dtype, dtype), shape), steps, dropped)
    steps += _synthesised(rules, dtype or _common_dtype(steps))
    problems += _produced_twice(steps)
    return Resolution(Plan(tuple(steps), tuple(dropped)), tuple(problems))


def _split(claim: Claim, tensor: TensorRef, part_spec: TensorSpec, steps: list[Step], dropped: list[Dropped]) -> None:
    rule = claim.rule
    casts = part_spec.dtype != tensor.dtype
    kind = Kind.RECOMPUTED if casts else rule.kind
    size = tensor.size // rule.operation.parts
    for part in range(rule.operation.parts):
        target = claim.target(part)
        if target is None:
            name = f"{tensor.name} (part {part + 1} of {rule.operation.parts})"
            dropped.append(Dropped(name, tensor.dtype, part_spec.shape, rule.reason, returns=True))
            continue
        span = Span(tensor, part * size, (part + 1) * size)
        spec = replace(part_spec, name=target)
        steps.append(Step(spec, (span,), rule.operation, kind, tensor.shape, rule.reason))


def backwards(tensors: Mapping[str, TensorRef], rules: Sequence[Rule]) -> Resolution:
    """Plan every original tensor from the target's in `tensors`: the same rules, read from right to left."""
    parts: dict[str, dict[int, TensorRef]] = {}
    by_source: dict[str, Claim] = {}
    dropped: list[Dropped] = []
    problems: list[Problem] = []
    for name, tensor in tensors.items():
        claim = _only_claim(name, claims_of_target(name, rules), problems)
        if claim is None:
            continue
        source = claim.source
        if source is None:
            reason = f"made for the class, and no part of the original ({claim.rule.reason})"
            dropped.append(Dropped(name, tensor.dtype, tensor.shape, reason))
            continue
        by_source[source] = claim
        if parts.setdefault(source, {}).setdefault(claim.part, tensor) is not tensor:
            problems.append(Problem(name, "is a second tensor for one place of the original"))
    steps = []
    for source, claim in by_source.items():
        step = _joined(source, claim, parts[source], problems)
        if step is not None:
            steps.append(step)
    steps += [alias for rule in rules if rule.alias for alias in _aliases(rule, steps)]
    common = _common_dtype(steps)
    for rule in rules:
        if rule.source and rule.constant:
            step = _declared(rule, rule.source, rule.constant.dtype or common)
            reason = f"not in the folder ({rule.reason}); returns as {rule.constant}"
            steps.append(replace(step, reason=reason))
    return Resolution(Plan(tuple(steps), tuple(dropped)), tuple(problems))


def _aliases(rule: Rule, steps: Sequence[Step]) -> Iterator[Step]:
    """The steps of the original's tensors that have a second name, under that name."""
    for step in steps:
        bindings = rule.alias.match(step.target.name) if rule.alias else None
        if bindings is not None and rule.source:
            yield replace(step, target=replace(step.target, name=rule.source.fill(bindings)))


def _declared(rule: Rule, pattern: Pattern, dtype: np.dtype[Any]) -> Step:
    """A tensor made from its declaration. `pattern` has no placeholders."""
    if rule.constant is None:
        raise ValueError("a rule without a declaration")
    name, shape = pattern.template, rule.constant.shape
    tensor = rule.constant.tensor(name, dtype)
    spec = TensorSpec(name, dtype, shape)
    return Step(spec, (Span(tensor, 0, tensor.size),), rule.operation, Kind.SYNTHESISED, shape, rule.reason)


def _joined(source: str, claim: Claim, parts: Mapping[int, TensorRef], problems: list[Problem]) -> Step | None:
    rule, operation = claim.rule, claim.rule.operation
    first = next(iter(parts.values()))
    spans = []
    for part in range(operation.parts):
        target = claim.target(part)
        tensor = zeros(*first.shape).tensor(source, first.dtype) if target is None else parts.get(part)
        if tensor is None:
            problems.append(Problem(target or source, "is missing"))
            continue
        if (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            problems.append(Problem(tensor.name, "differs in shape or dtype from the tensors that it is joined with"))
        spans.append(Span(tensor, 0, tensor.size))
    try:
        shape = operation.source_shape(first.shape)
        operation.target_shape(shape) if rule.kind is Kind.BIJECTIVE else None
    except ShapeMismatchError as error:
        problems.append(Problem(first.name, f"has a shape that does not fit: {error}"))
        return None
    spec = TensorSpec(source, first.dtype, shape)
    return Step(spec, tuple(spans), operation, rule.kind, shape, rule.reason, inverted=rule.kind is Kind.BIJECTIVE)


def _only_claim(name: str, claims: list[Claim], problems: list[Problem]) -> Claim | None:
    if len(claims) == 1:
        return claims[0]
    problems.append(Problem(name, "is claimed by two rules" if claims else "is not part of this model"))
    return None


def _cast(stored: np.dtype[Any], wanted: np.dtype[Any] | None) -> np.dtype[Any]:
    return stored if wanted is None or np.issubdtype(stored, np.integer) else wanted


def _common_dtype(steps: Sequence[Step]) -> np.dtype[Any]:
    """The dtype of most values: what a synthesised tensor takes when none is asked for."""
    sizes: dict[np.dtype[Any], int] = {}
    for step in steps:
        sizes[step.target.dtype] = sizes.get(step.target.dtype, 0) + step.target.size
    return max(sizes, key=lambda dtype: sizes[dtype], default=np.dtype(np.float32))


def _synthesised(rules: Sequence[Rule], dtype: np.dtype[Any]) -> list[Step]:
    return [_declared(rule, rule.targets[0], dtype) for rule in rules if rule.source is None and rule.targets[0]]


def _produced_twice(steps: Sequence[Step]) -> list[Problem]:
    seen: set[str] = set()
    problems = []
    for step in steps:
        if step.target.name in seen:
            problems.append(Problem(step.target.name, "would be written twice"))
        seen.add(step.target.name)
    return problems


def compare_shapes(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[Problem]:
    """What is missing, and what has another shape than the model of these sizes has."""
    problems = [Problem(name, "is missing") for name in expected if name not in found]
    for name, shape in expected.items():
        if name in found and found[name] != shape:
            problems.append(Problem(name, f"has shape {found[name]} where {shape} was expected"))
    return problems
