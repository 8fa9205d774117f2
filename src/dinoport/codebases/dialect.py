"""Another codebase's names for a family's models: a table from the original's names to theirs, read backwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dinoport.codebases.averaging import AVERAGED
from dinoport.codebases.setting import Wishes
from dinoport.mapping.resolve import Problem, backwards, claims_of_source
from dinoport.mapping.rule import Rule
from dinoport.tensor import Shape, TensorRef


@dataclass(frozen=True)
class Dialect:
    """`rules` leads from the original's names to this codebase's, for a model of the given shapes under its names.

    What this codebase leaves out returns as its rules declare it, so a family reads an original all the same; what
    was declared rather than stored is told apart.
    """

    name: str
    recognises: Callable[[Mapping[str, Shape]], bool]
    rules: Callable[[Mapping[str, Shape], Wishes], tuple[Rule, ...]]


@dataclass(frozen=True)
class Translation:
    """A state dict under the original's names. `declared` are those that its file does not hold, and what they are.

    `head` is what the file of a linear head calls its layer, where one came along.
    """

    tensors: Mapping[str, TensorRef]
    declared: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()
    head: str | None = None


def translate(tensors: Mapping[str, TensorRef], dialect: Dialect, wishes: Wishes) -> Translation:
    """Give `tensors` the original's names. Nothing is read; problems are collected."""
    rules = dialect.rules({name: tensor.shape for name, tensor in tensors.items()}, wishes)
    beside = {name: tensor for name, tensor in tensors.items() if claims_of_source(name, (AVERAGED,))}
    resolution = backwards({name: tensor for name, tensor in tensors.items() if name not in beside}, rules)
    declared = {
        rule.source.template: f"{rule.constant}: {rule.reason}" for rule in rules if rule.source and rule.constant
    }
    remarks = [f"read through the names of {dialect.name}"]
    remarks += [f"{dialect.name} keeps no {name}; taken as {why}" for name, why in declared.items() if "." not in name]
    found = {step.target.name: step.tensor() for step in resolution.plan.steps}
    return Translation({**found, **beside}, declared, resolution.problems, tuple(remarks))
