"""What a plan does with every element, told from the values that come out of it, in the words of the recorded lists.

A list leads from an original's own names to a class's: so do the table of its codebase, read from right to left, and
that of the class, one after the other.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from dinoport.codebases.catalogue import NAMINGS, naming_of
from dinoport.codebases.target import Target
from dinoport.codebases.transformers.forms import target_of as form_of
from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.decoding import decode
from dinoport.mapping.encoding import encode
from dinoport.mapping.plan import Plan
from dinoport.mapping.rule import Pattern, Rule
from dinoport.model import Model, Wishes
from dinoport.networks.preprocessing import EVALUATION
from dinoport.request import Request
from dinoport.tensor import Array, ArrayValues, Shape, TensorRef
from tests.fixtures.mapping.cases import Case

Entry: TypeAlias = dict[str, Any]

ELEMENTS = 2**24
"""More than any tensor has here: element e of tensor t holds the value t · ELEMENTS + e."""


def read(case: Case) -> Model:
    """The model of a case, read from tensors in which every element says where it lies, by the original's own names."""
    shapes = case.shapes()
    naming = next((naming for naming in NAMINGS if naming.recognises(shapes)), None)
    if naming is None or naming.family != case.family:  # a relative, which has the names of another
        naming = naming_of(case.family)
    assert naming is not None
    family = naming.code.FAMILY
    tensors, _ = naming.arranged(coded(shapes))
    decoding = decode(tensors, naming.rules(shapes, Wishes()), kept(case, family.drops))
    assert not decoding.problems
    assert not decoding.aside
    assert decoding.tensors.keys() == case.architecture.tensors().keys()
    return Model("", "", family, case.architecture, decoding, (), EVALUATION, case.classifier or None)


def kept(case: Case, drops: Sequence[Rule]) -> tuple[Rule, ...]:
    """Without those for parts that this model has: the decoder of a whole MAE."""
    own = case.shapes()
    return tuple(drop for drop in drops if not any(drop.source and drop.source.match(name) is not None for name in own))


def target_of(model: Model, class_name: str = "") -> Target:
    """The class that a conversion takes, or another that computes the same."""
    return form_of(model, Request(class_name=class_name or None), None)


def read_list(case: Case) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(case.path.read_text(encoding="utf-8"))
    return listed


def coded(shapes: Mapping[str, Shape]) -> dict[str, TensorRef]:
    """Tensors in which every element says where it lies."""
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items(), start=1):
        values = number * ELEMENTS + np.arange(np.prod(shape, dtype=np.int64), dtype=np.float64).reshape(shape)
        tensors[name] = TensorRef(name, values.dtype, values.shape, ArrayValues(values))
    return tensors


def entries_of(plan: Plan, shapes: Mapping[str, Shape]) -> list[Entry]:
    """The entries of a plan for `coded` tensors of these names, by target."""
    names = list(shapes)
    found = []
    for step in plan.steps:
        values = step.tensor().read()
        found.append(_entry(values, names, shapes) | {"target": step.target.name})
    return sorted(found, key=lambda entry: str(entry["target"]))


def _entry(values: Array, names: Sequence[str], shapes: Mapping[str, Shape]) -> Entry:
    constant = _constant(values)
    if constant:
        return {"source": constant}
    entry: Entry = {}
    if not values.all():  # no element of an original is coded as zero
        held = np.flatnonzero(values.any(axis=tuple(axis for axis in range(values.ndim) if axis != 1)))
        first, last = int(held[0]), int(held[-1]) + 1
        around = {"zeros_before": first, "zeros_after": values.shape[1] - last}
        entry = {where: count for where, count in around.items() if count}
        values = values[:, first:last]
    tensors = np.unique(values // ELEMENTS)
    assert len(tensors) == 1, "one target holds values of several tensors"
    source = names[int(tensors[0]) - 1]
    shape = shapes[source]
    elements = (values % ELEMENTS).astype(np.int64)
    entry = {"source": source, **entry}
    if not shape:
        return entry
    row = int(np.prod(shape[1:], dtype=np.int64))
    elements = elements.reshape(-1, row)
    start, stop = int(elements.min()) // row, int(elements.max()) // row + 1
    if (start, stop) != (0, shape[0]):
        entry["rows"] = [start, stop]
    in_order = np.arange(start * row, stop * row).reshape(-1, row)
    columns = elements[0] % row
    np.testing.assert_array_equal(elements, in_order[:, columns], err_msg=f"rows of {source} are not in order")
    if not np.array_equal(columns, np.arange(row)):
        entry["columns"] = columns.tolist()
    return entry


def _constant(values: Array) -> str | None:
    if not values.size:
        return "(empty)"
    if (values == 1).all():
        return "(ones)"
    if (values == 0).all():
        return "(zeros)"
    return "(identity)" if values.ndim == 2 and np.array_equal(values, np.eye(len(values))) else None


def left_out_of(plan: Plan, shapes: Mapping[str, Shape]) -> list[Entry]:
    """The dropped tensors and parts of tensors, as the lists name them."""
    found: list[Entry] = []
    for dropped in plan.dropped:
        name, _, part = dropped.name.partition(" (part ")
        entry: Entry = {"source": name}
        if part:
            length = dropped.shape[0]
            first = (int(part.split()[0]) - 1) * length
            entry["rows"] = [first, first + length]
        found.append(entry)
    return sorted(found, key=lambda entry: list(shapes).index(entry["source"]))


def unfolded(rules: Sequence[Rule], names: Iterable[str]) -> list[Rule]:
    """The table with one rule for each tensor, without placeholders."""
    concrete = [rule for rule in rules if rule.source is None]
    for name in names:
        for claim in claims_of_source(name, rules):
            targets = tuple(
                Pattern(pattern.fill(claim.bindings)) if pattern else None for pattern in claim.rule.targets
            )
            alias = Pattern(claim.rule.alias.fill(claim.bindings)) if claim.rule.alias else None
            concrete.append(replace(claim.rule, source=Pattern(name), targets=targets, alias=alias))
    return concrete


@dataclass(frozen=True)
class Mutant:
    """A table in which two targets of one shape have changed places; `rules` are those of its rules that differ."""

    swapped: str
    table: Sequence[Rule]
    rules: Sequence[Rule]


def mutants(rules: Sequence[Rule], tensors: Mapping[str, TensorRef]) -> Iterator[Mutant]:
    """Every mutant of a table but for those that are none: a constant in the place of an equal one."""
    table = unfolded(rules, tensors)
    target_shapes = {step.target.name: step.target.shape for step in encode(tensors, table).plan.steps}
    places = [
        (index, part, pattern.template)
        for index, rule in enumerate(table)
        for part, pattern in enumerate(rule.targets)
        if pattern
    ]
    for one, other in combinations(places, 2):
        constants = {table[index].constant for index, _, _ in (one, other)}
        if target_shapes[one[2]] != target_shapes[other[2]] or (len(constants) == 1 and None not in constants):
            continue
        mutant = list(table)
        for (index, part, _), name in ((one, other[2]), (other, one[2])):
            targets = list(mutant[index].targets)
            targets[part] = Pattern(name)
            mutant[index] = replace(mutant[index], targets=tuple(targets))
        changed = [mutant[index] for index in sorted({one[0], other[0]})]
        yield Mutant(f"{one[2]} and {other[2]}", mutant, changed)
