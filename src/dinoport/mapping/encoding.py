"""From canonical names to a codebase's: the rules read from left to right, as a plan of every tensor to write.

The result is total and unambiguous, or comes with everything that keeps it from being so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from dinoport.mapping.claims import Claim, Problem, claims_of_source, only_claim
from dinoport.mapping.computation import changes
from dinoport.mapping.operations import Kind, ShapeMismatchError
from dinoport.mapping.plan import Dropped, Plan, Span, Step
from dinoport.mapping.rule import Rule
from dinoport.tensor import TensorRef, TensorSpec


class Encoding(NamedTuple):
    """The plan as far as it goes, and everything that is wrong with it."""

    plan: Plan
    problems: tuple[Problem, ...]


def encode(
    tensors: Mapping[str, TensorRef],
    rules: Sequence[Rule],
    dtype: np.dtype[Any] | None = None,
    declared: Mapping[str, str] | None = None,
    anew: Mapping[str, TensorRef] | None = None,
) -> Encoding:
    """Plan every tensor of a codebase from the canonical ones.

    `dtype` casts what is floating; integers (BatchNorm's counters) stay as they are. None keeps every dtype.
    `declared` are those that no file holds, and what they are taken as. `anew` are those that are computed from the
    others, and take the place of the canonical ones.
    """
    steps: list[Step] = []
    dropped: list[Dropped] = []
    problems: list[Problem] = []
    for name, tensor in {**tensors, **(anew or {})}.items():
        claim = only_claim(name, claims_of_source(name, rules), problems)
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
        made = (declared or {}).get(name)
        reason = f"not in the source; taken as {made}" if made else claim.rule.reason
        kind = Kind.SYNTHESISED if made else Kind.RECOMPUTED if name in (anew or {}) else claim.rule.kind
        _split(claim, tensor, TensorSpec("", _cast(tensor.dtype, dtype), shape), kind, reason, steps, dropped)
    common = dtype or common_dtype(step.target for step in steps)
    steps += [declared_step(rule, name, common) for rule in rules if rule.source is None for name in rule.names]
    counts = Counter(step.target.name for step in steps)
    problems += [Problem(name, "would be written twice") for name, count in counts.items() if count > 1]
    return Encoding(Plan(tuple(steps), tuple(dropped)), tuple(problems))


def declared_step(rule: Rule, name: str, dtype: np.dtype[Any]) -> Step:
    """A tensor made from the declaration of a rule."""
    if rule.constant is None:
        raise ValueError("a rule without a declaration")
    shape = rule.constant.shape
    tensor = rule.constant.tensor(name, dtype)
    spec = TensorSpec(name, dtype, shape)
    return Step(spec, (Span(tensor, 0, tensor.size),), rule.operation, Kind.SYNTHESISED, shape, rule.reason)


def common_dtype(specs: Any) -> np.dtype[Any]:
    """The dtype of most values: what a declared tensor takes when none is asked for."""
    sizes: dict[np.dtype[Any], int] = {}
    for spec in specs:
        sizes[spec.dtype] = sizes.get(spec.dtype, 0) + spec.size
    return max(sizes, key=lambda dtype: sizes[dtype], default=np.dtype(np.float32))


def _split(
    claim: Claim,
    tensor: TensorRef,
    part_spec: TensorSpec,
    kind: Kind,
    reason: str,
    steps: list[Step],
    dropped: list[Dropped],
) -> None:
    rule = claim.rule
    if kind is Kind.BIJECTIVE and part_spec.dtype != tensor.dtype:
        kind = Kind.RECOMPUTED
    size, row = tensor.size // rule.operation.parts, prod(tensor.shape[1:])
    for part in range(rule.operation.parts):
        target = claim.target(part)
        if target is None:
            name = f"{tensor.name} (part {part + 1} of {rule.operation.parts})"
            dropped.append(Dropped(name, tensor.dtype, part_spec.shape, rule.reason, returns=True))
            continue
        span = Span(tensor, part * size, (part + 1) * size)
        spec = part_spec._replace(name=target)
        computed = kind is Kind.BIJECTIVE and changes(tensor.values, span.start, span.stop, row)
        own = Kind.RECOMPUTED if computed else kind
        steps.append(Step(spec, (span,), rule.operation, own, tensor.shape, reason))


def _cast(stored: np.dtype[Any], wanted: np.dtype[Any] | None) -> np.dtype[Any]:
    return stored if wanted is None or np.issubdtype(stored, np.integer) else wanted
