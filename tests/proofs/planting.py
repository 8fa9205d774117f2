"""Folders with a mistake in them, and what the outputs proof says of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from dinoport.codebases.transformers.catalogue import choose
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.proofs.in_float32 import run_in_float32
from safetensors.numpy import save_file

from dinoport.codebases.catalogue import FAMILIES
from dinoport.codebases.codebase import Architecture, Family
from dinoport.codebases.transformers.running import outputs_of
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.pattern import Pattern
from dinoport.mapping.plan import Plan
from dinoport.mapping.rule import Rule
from dinoport.networks.preprocessing import EVALUATION
from dinoport.networks.rotary_vit.rotation import kept_rotation
from dinoport.proofs import exact, loading, outputs
from dinoport.proofs.exact import ExactProof
from dinoport.proofs.outputs import GATE, Comparison, OutputsProof
from dinoport.proofs.weights import Weights, floats
from dinoport.tensor import Array, ArrayValues, TensorRef
from tests import formula
from tests.fixtures.mapping.generate import place_of
from tests.mapping.recorded import unfolded

Arrays: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Original:
    """A model under its original's names, and the size of the picture that it is looked at with."""

    family: str
    architecture: Architecture
    image_size: int
    arrays: Callable[[], Arrays] | None = None

    def tensors(self) -> dict[str, TensorRef]:
        arrays = self.arrays() if self.arrays else formula.state_dict(self.architecture.tensors())
        return refs(arrays)


@dataclass(frozen=True)
class Mistake:
    """What a folder is made with instead of what is right.

    Another architecture that the original is `believed` to be; other `rules`; other fields of `config`; other `values`
    in the file. `reference` names a module with another forward pass than the original's.
    """

    believed: Architecture | None = None
    rules: Callable[[Sequence[Rule]], Sequence[Rule]] = tuple
    config: Mapping[str, object] = field(default_factory=dict)
    values: Callable[[Arrays], Arrays] = dict
    reference: str | None = None
    image_size: int | None = None


@dataclass(frozen=True)
class Shown:
    """The proofs of a folder. Its rules are the mistaken ones, as if the mistake were in dinoport's own tables."""

    exact: ExactProof
    outputs: OutputsProof


def refs(arrays: Mapping[str, Array]) -> dict[str, TensorRef]:
    return {name: TensorRef(name, array.dtype, array.shape, ArrayValues(array)) for name, array in arrays.items()}


def family_of(original: Original) -> Family:
    return next(family for family in FAMILIES if family.name == original.family)


@dataclass(frozen=True)
class Planted:
    """A folder with a mistake, and the original that it is not equal to; `rules` are those that it was made with."""

    folder: Path
    family: Family
    target: Target
    rules: Sequence[Rule]
    plan: Plan
    tensors: Mapping[str, TensorRef]
    written: Mapping[str, TensorRef]
    baked: str | None
    image_size: int


def plant(original: Original, mistake: Mistake, folder: Path) -> Planted:
    """Write the folder."""
    believed = mistake.believed or original.architecture
    target = choose(believed, EVALUATION, Choices(image_size=mistake.image_size))
    tensors = original.tensors()
    rules = mistake.rules(unfolded(target.rules, {name: tensor.shape for name, tensor in tensors.items()}))
    resolution = forwards(tensors, rules)
    assert resolution.problems == ()
    arrays = mistake.values({step.target.name: step.tensor().read() for step in resolution.plan.steps})
    baked = next((step.target.name for step in resolution.plan.steps if isinstance(step.operation, BakeTable)), None)
    write(folder, target, arrays, mistake.config)
    family = family_of(original)
    family = replace(family, reference=mistake.reference or family.reference)
    size = mistake.image_size or original.image_size
    return Planted(folder, family, target, rules, resolution.plan, tensors, refs(arrays), baked, size)


def show(original: Original, mistake: Mistake, folder: Path) -> Shown:
    """Write the folder, load it as Transformers does, and prove it against the original."""
    it = plant(original, mistake, folder)
    loaded, model = loading.load(folder, it.target.class_name)
    assert loaded.passed, loaded
    pixels = formula.pixel_values(it.image_size, it.image_size, batch=1)
    single = run_in_float32(model, pixels)
    comparison = Comparison(
        it.family, original.architecture, it.tensors, it.written, model, single, it.image_size, baked=it.baked
    )
    return Shown(exact.prove(it.tensors, it.written, it.rules), outputs.prove(comparison, pixels, "noise"))


def write(folder: Path, target: Target, arrays: Arrays, config: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**target.config, **config}))


def swapped(*pairs: tuple[str, str]) -> Callable[[Sequence[Rule]], list[Rule]]:
    """Let every target whose name holds one of a pair change places with the one that has the other's name.

    Every pair is taken for all tensors of a module or block: `.query.` and `.key.`, `layer.0.` and `layer.1.`.
    """

    def change(name: str) -> str:
        for one, other in pairs:
            if one in name:
                return name.replace(one, other)
            if other in name:
                return name.replace(other, one)
        return name

    def mistaken(rules: Sequence[Rule]) -> list[Rule]:
        return [renamed_targets(rule, change) for rule in rules]

    return mistaken


def renamed_targets(rule: Rule, change: Callable[[str], str]) -> Rule:
    targets = tuple(Pattern(change(target.template)) if target else None for target in rule.targets)
    return replace(rule, targets=targets)


def rolled(name: str, first: int) -> Callable[[Arrays], Arrays]:
    """Shift the rows of a (1, rows, width) tensor by one, from row `first` on."""

    def mistaken(arrays: Arrays) -> Arrays:
        table = arrays[name].copy()
        table[:, first:] = np.roll(table[:, first:], 1, axis=1)
        return {**arrays, name: table}

    return mistaken


def halves_swapped(part: str) -> Callable[[Arrays], Arrays]:
    """Let the two halves of the rows change places in every tensor whose name holds this part."""

    def mistaken(arrays: Arrays) -> Arrays:
        return {
            name: np.concatenate(np.split(array, 2)[::-1]) if part in name else array for name, array in arrays.items()
        }

    return mistaken


def swap_all(original: Original, folder: Path) -> Iterator[tuple[str, str, float]]:
    """Let every two tensors of one shape change places, one pair after the other: their names on disk, and how far
    the outputs move, relative to the largest.

    The class is loaded once and its parameters are swapped in memory; which is which on disk is told by their bits.
    """
    import torch

    target = choose(original.architecture, EVALUATION, Choices())
    tensors = original.tensors()
    plan = forwards(tensors, target.rules).plan
    arrays = {step.target.name: step.tensor().read() for step in plan.steps}
    write(folder, target, arrays, {})
    _, model = loading.load(folder, target.class_name)
    parameters = parts_by_name(model, arrays)
    images = torch.from_numpy(formula.pixel_values(original.image_size, original.image_size, batch=1)).double()
    forward = import_module(family_of(original).reference).forward
    with torch.inference_mode():
        with kept_rotation(model) as rotations:
            outputs_of(model, images)
        arguments = outputs.rotation_for(original.architecture, rotations)
        ours = forward(Weights(floats(tensors)), original.architecture, images, **arguments)
        for one, other in combinations(parameters, 2):
            if arrays[one].shape != arrays[other].shape:
                continue
            exchange(parameters[one], parameters[other])
            moved = outputs.largest(outputs.compare(ours, outputs_of(model, images))).relative
            exchange(parameters[one], parameters[other])
            yield one, other, moved
        assert outputs.largest(outputs.compare(ours, outputs_of(model, images))).relative < GATE


def parts_by_name(model: Any, arrays: Arrays) -> dict[str, list[Any]]:
    """The parameters in memory that hold each tensor on disk, in the order of its rows. Scalars are left out."""
    stored: dict[str, list[tuple[int, Any]]] = {}
    on_disk = {name: torch_array(array) for name, array in arrays.items()}
    for tensor in model.state_dict().values():
        if tensor.ndim:
            name, start, _ = place_of(tensor, on_disk)
            stored.setdefault(name, []).append((start, tensor))
    return {name: [tensor for _, tensor in sorted(parts, key=lambda part: part[0])] for name, parts in stored.items()}


def torch_array(array: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)).double()


def exchange(ones: Sequence[Any], others: Sequence[Any]) -> None:
    for one, other in zip(ones, others, strict=True):
        kept = one.clone()
        one.copy_(other)
        other.copy_(kept)
