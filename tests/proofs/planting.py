"""Folders with a mistake in them, and what the outputs proof says of each."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors.numpy import save_file

from dinoport.codebases.catalogue import NAMINGS
from dinoport.codebases.codebase import canonical_rules
from dinoport.codebases.target import Target
from dinoport.codebases.transformers.forms import target_of
from dinoport.codebases.transformers.running import ClassRunner, outputs_of
from dinoport.mapping.decoding import decode
from dinoport.mapping.encoding import encode
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.plan import Plan
from dinoport.mapping.rule import Pattern, Rule
from dinoport.model import Model
from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import EVALUATION
from dinoport.proofs import exact, outputs
from dinoport.proofs.case import Case, Side
from dinoport.proofs.comparison import Comparison
from dinoport.proofs.difference import compare, largest
from dinoport.proofs.exact import ExactProof
from dinoport.proofs.outputs import OutputsProof
from dinoport.proofs.verdict import GATE
from dinoport.proofs.weights import Weights, floats
from dinoport.request import Request
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

    def model(self) -> Model:
        """As it would be read from a file of its own."""
        arrays = self.arrays() if self.arrays else formula.state_dict(self.architecture.tensors())
        [family] = [naming.code.FAMILY for naming in NAMINGS if naming.family == self.family]
        decoding = decode(refs(arrays), canonical_rules(list(arrays), None))
        return Model("", family.title, family, self.architecture, decoding, (), EVALUATION)


def as_it_is(architecture: Any) -> Any:
    return architecture


@dataclass(frozen=True)
class Mistake:
    """What a folder is made with instead of what is right.

    Another architecture that the original is `believed` to be; other `rules`; other fields of `config`; other `values`
    in the file. `computed` makes an architecture with another forward pass of the original's.
    """

    believed: Architecture | None = None
    rules: Callable[[Sequence[Rule]], Sequence[Rule]] = tuple
    config: Mapping[str, object] = field(default_factory=dict)
    values: Callable[[Arrays], Arrays] = dict
    computed: Callable[[Any], Architecture] = as_it_is
    image_size: int | None = None


@dataclass(frozen=True)
class Shown:
    """The proofs of a folder. Its rules are the mistaken ones, as if the mistake were in dinoport's own tables."""

    exact: ExactProof
    outputs: OutputsProof


def refs(arrays: Mapping[str, Array]) -> dict[str, TensorRef]:
    return {name: TensorRef(name, array.dtype, array.shape, ArrayValues(array)) for name, array in arrays.items()}


@dataclass(frozen=True)
class Planted:
    """A folder with a mistake, as the other side of a proof of its original; `plan` is what it was made by."""

    case: Case
    plan: Plan
    target: Target
    runner: ClassRunner

    def comparison(self) -> Comparison:
        source, written = self.case.source.model, self.case.target.model
        baked = written.tensors[source.architecture.positions or ""] if self.case.baked else None
        return Comparison(source.architecture, source.tensors, self.runner, self.case.image_size, baked=baked)


def plant(original: Original, mistake: Mistake, folder: Path) -> Planted:
    """Write the folder."""
    model = original.model()
    believed = replace(model, architecture=mistake.believed or model.architecture)
    target = target_of(believed, Request(image_size=mistake.image_size), None)
    rules = mistake.rules(unfolded(target.rules, model.tensors))
    encoding = encode(model.tensors, rules)
    assert encoding.problems == ()
    arrays = mistake.values({step.target.name: step.tensor().read() for step in encoding.plan.steps})
    write(folder, target, arrays, mistake.config)
    runner = ClassRunner(folder, target.form)
    written = replace(model, title=target.form, decoding=decode(refs(arrays), rules))
    source = replace(model, architecture=mistake.computed(model.architecture))
    baked = next((step.operation for step in encoding.plan.steps if isinstance(step.operation, BakeTable)), None)
    case = Case(Side(source), Side(written, runner), mistake.image_size or original.image_size, baked=baked)
    return Planted(case, encoding.plan, target, runner)


def show(original: Original, mistake: Mistake, folder: Path) -> Shown:
    """Write the folder, load it as Transformers does, and prove it against the original."""
    it = plant(original, mistake, folder)
    loaded = it.runner.load("float32")
    assert loaded.passed, loaded
    source, written = it.case.source.model, it.case.target.model
    pixels = formula.pixel_values(it.case.image_size, it.case.image_size, batch=1)
    proof = outputs.prove(it.comparison(), pixels, "noise")
    return Shown(exact.prove(source.decoding, written.decoding, anew=it.case.anew), proof)


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

    it = plant(original, Mistake(), folder)
    it.runner.load()
    model, arrays = it.runner.model, {name: t.read() for name, t in it.case.target.model.decoding.stored.items()}
    parameters = parts_by_name(model, arrays)
    images = torch.from_numpy(formula.pixel_values(original.image_size, original.image_size, batch=1)).double()
    comparison = it.comparison()
    with torch.inference_mode():
        shared = comparison.shared(it.runner.run(images))
        ours = comparison.forward(Weights(floats(comparison.tensors)), images, shared).outputs
        for one, other in combinations(parameters, 2):
            if arrays[one].shape != arrays[other].shape:
                continue
            exchange(parameters[one], parameters[other])
            moved = largest(compare(ours, outputs_of(model, images))).relative
            exchange(parameters[one], parameters[other])
            yield one, other, moved
        assert largest(compare(ours, outputs_of(model, images))).relative < GATE


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
