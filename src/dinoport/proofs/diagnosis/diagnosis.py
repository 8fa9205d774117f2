"""Why a folder is not equal: the first block that differs, the rules that feed it, and the mistake that explains it.

A cause is only named where the original, computed with that mistake, equals the folder. The time is bounded: a mistake
is given up at the first block that it does not put right.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.rule import Rule
from dinoport.networks.network import ROTATION_GATE
from dinoport.networks.observing import AFTER, EMBEDDING
from dinoport.proofs.diagnosis.misplaced import block_of, find_misplaced
from dinoport.tensor import TensorRef

ROTATION = "the rotary positions"
"""Where everything is equal but for DINOv3's sines and cosines, which are compared by themselves."""

THETAS = (100.0, 10000.0, 1000.0, 500.0, 10.0)
"""Bases of rotary positions that are in use."""

BUDGET_SECONDS = 120.0
MAX_CAUSES = 3
"""How many mistakes are looked for on top of each other."""

EMBEDDING_NAMES = (
    "cls_token", "pos_embed", "patch_embed.", "register_tokens", "storage_tokens", "mask_token", "rope_embed.",
    "conv1.", "bn1.", "downsample_layers.0.",
)  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """`block` is the original's name of the first module that differs, by `relative` in float64 (None: not computed).

    `rules` are those that fill it, as text. `cause` is None where nothing that was tried explains the difference;
    with the cause put right, `remaining` is what is left (None: not computed). `partly` says that the cause explains
    the first difference and not all of them. `of_setting` says that the cause is a value of a config, and no weight.
    `misplaced` says which tensors hold what. `tried` counts the mistakes, and `out_of_time` says that not all were.
    """

    block: str
    relative: float | None = None
    rules: tuple[str, ...] = ()
    cause: str | None = None
    remaining: float | None = None
    partly: bool = False
    misplaced: tuple[str, ...] = ()
    tried: int = 0
    out_of_time: bool = False
    of_setting: bool = False

    @property
    def by_content(self) -> bool:
        """Whether `block` is the first whose tensors differ, and nothing is said of what comes out of it."""
        return self.relative is None and self.block != ROTATION


def of_tensors(
    originals: Mapping[str, TensorRef],
    written: Mapping[str, TensorRef],
    rules: Sequence[Rule],
    others: Mapping[str, Mapping[str, TensorRef]],
    dtype: np.dtype[Any] | None = None,
) -> Diagnosis | None:
    """What can be said by content alone; None where every tensor holds what belongs there."""
    found = find_misplaced(originals, written, rules, others, dtype)
    if not found.names:
        return None
    block = min(map(_module_of, found.names), key=_depth)
    return Diagnosis(block, None, rules_of(block, originals, rules), found.cause, None, False, found.lines)


@dataclass(frozen=True)
class Sides:
    """The original's forward pass, of (weights, architecture, observer), and what came out of the folder.

    `gate` is the largest relative difference that counts as equal.
    """

    forward: Callable[[Any, Any, Callable[[str, Any], None]], Mapping[str, Any]]
    outputs: Mapping[str, Any]
    blocks: Mapping[str, Any]
    compare: Callable[[Mapping[str, Any], Mapping[str, Any]], float]
    gate: float


def of_outputs(
    sides: Sides,
    state: Mapping[str, Any],
    architecture: Any,
    others: Mapping[str, Mapping[str, Any]],
    held: tuple[str, Mapping[str, Any]] | None,
) -> Diagnosis:
    """Run the original as it is, then with one usual mistake after another, until both sides are equal.

    `held` are the weights that the folder itself holds, under the original's names, and what is wrong with them in
    words: where no mistake explains the difference, the search begins anew from them.
    """
    import torch

    from dinoport.proofs.diagnosis.trial import Trial

    search = _Search(sides, others, time.monotonic() + BUDGET_SECONDS)
    with torch.inference_mode():
        first, relative = _parting(sides, Trial(state, architecture))
        found = Diagnosis(first or AFTER, relative)
        explained = search.run(Trial(state, architecture), found)
        if held and explained.remaining is None:
            own = search.run(Trial(held[1], architecture, held[0]), found)
            explained = own if own.remaining is not None else explained
    return replace(explained, tried=search.tried, out_of_time=search.out_of_time)


def of_rotation(rotation: Any, architecture: Any, size: tuple[int, int]) -> Diagnosis:
    """Look for another base that the folder's rotary positions have, for a picture of (height, width) pixels."""
    code = architecture.network.rotation_code
    tried = 0
    for tried, theta in enumerate((*THETAS, *code.bases_of(rotation, architecture, size)), start=1):
        remaining = code.difference(rotation, replace(architecture, rope_theta=theta), size)
        if theta != architecture.rope_theta and remaining <= ROTATION_GATE:
            words = f"the folder computes with {theta:g}, the original with {architecture.rope_theta:g}"
            cause = f"the base of the rotary positions: {words}"
            return Diagnosis(ROTATION, cause=cause, remaining=remaining, of_setting=True, tried=tried)
    return Diagnosis(ROTATION, tried=tried)


def of_table(distance: Callable[[Any, Any], float], table: Any, architecture: Any, limit: float) -> Diagnosis:
    """Try the other interpolations for a baked position `table`, and other places for its rows.

    `distance` is that of a table from what an architecture makes of the original's own.
    """
    from dinoport.networks.interpolation import INTERPOLATIONS
    from dinoport.proofs.diagnosis.misordered import shifted_tables

    found, tried = Diagnosis(EMBEDDING, distance(architecture, table)), 0
    for rule in INTERPOLATIONS.values():
        tried += 1
        remaining = distance(replace(architecture, interpolation=rule), table)
        if rule != architecture.interpolation and remaining <= limit:
            cause = f"the position table was resampled {rule}; by the original {architecture.interpolation}"
            return replace(found, cause=cause, remaining=remaining, tried=tried)
    for cause, moved in shifted_tables(table, back=True):
        tried += 1
        if (remaining := distance(architecture, moved)) <= limit:
            return replace(found, cause=cause, remaining=remaining, tried=tried)
    return replace(found, tried=tried)


@dataclass
class _Search:
    """Tries mistakes on top of each other, up to a point in time."""

    sides: Sides
    others: Mapping[str, Mapping[str, Any]]
    until: float
    tried: int = 0
    out_of_time: bool = False

    def run(self, base: Any, found: Diagnosis) -> Diagnosis:
        """`found` with the causes that were found, beginning with `base`'s own."""
        causes = [base.words] if base.words else []
        reached, relative = _parting(self.sides, base)
        if reached is None:
            return replace(found, cause=_joined(causes), remaining=relative)
        while len(causes) < MAX_CAUSES:
            trial, parted, remaining = self._best(base, reached)
            if trial is None:
                break
            if not causes:
                found = replace(found, of_setting=trial.of_setting)
            causes.append(trial.words)
            if parted is None:
                return replace(found, cause=_joined(causes), remaining=remaining)
            base, reached = trial, parted
        return replace(found, cause=_joined(causes), partly=bool(causes))

    def _best(self, base: Any, reached: str) -> tuple[Any, str | None, float]:
        """The mistake that explains everything, else the one after which the models part latest, if later."""
        from dinoport.proofs.diagnosis.mistakes import trials

        order = [*self.sides.blocks, AFTER]
        best: tuple[Any, str | None, float] = (None, reached, float("inf"))
        for trial in trials(base, reached, self.others):
            if time.monotonic() > self.until:
                self.out_of_time = True
                break
            self.tried += 1
            parted, relative = _parting(self.sides, trial)
            if parted is None:
                return trial, None, relative
            if parted in order and order.index(parted) > order.index(best[1] or AFTER):
                best = trial, parted, relative
        return best


def completed(found: Diagnosis, by_content: Diagnosis | None, rules: tuple[str, ...]) -> Diagnosis:
    """What was computed, with the rules that feed the block and what the tensors' contents say beside it."""
    return replace(found, rules=rules, misplaced=by_content.misplaced if by_content else ())


def rules_of(block: str, originals: Mapping[str, TensorRef], rules: Sequence[Rule]) -> tuple[str, ...]:
    """The rules that fill one module of the original, as `source → targets`."""
    found: dict[str, None] = {}
    for name in originals:
        for claim in claims_of_source(name, rules) if _module_of(name) == block else ():
            rule = claim.rule
            targets = ", ".join(target.template for target in rule.targets if target)
            if rule.source and targets:
                found[f"{rule.source.template} → {targets}"] = None
    return tuple(found)


def _parting(sides: Sides, trial: Any) -> tuple[str | None, float]:
    """The first module whose output differs, and by how much; None and the outputs' difference where none does."""
    from dinoport.networks.layers import activation_replaced
    from dinoport.proofs.difference import Difference

    def watch(name: str, output: Any) -> None:
        if name in sides.blocks and output.shape == sides.blocks[name].shape:
            relative = Difference.between(output, sides.blocks[name]).relative
            if relative > sides.gate:
                raise _PartedError(name, relative)

    other = activation_replaced(trial.activation) if trial.activation else nullcontext()
    try:
        with other:
            outputs = sides.forward(trial.state, trial.architecture, watch)
    except _PartedError as parted:
        return parted.name, parted.relative
    except (KeyError, RuntimeError, ValueError):
        # A mistake that this model cannot even be computed with is not the one.
        return EMBEDDING, float("inf")
    if trial.order:
        outputs = {name: trial.order(output) if name == "tokens" else output for name, output in outputs.items()}
    relative = sides.compare(outputs, sides.outputs)
    return (None, relative) if relative <= sides.gate else (AFTER, relative)


class _PartedError(Exception):
    def __init__(self, name: str, relative: float) -> None:
        super().__init__(name)
        self.name, self.relative = name, relative


def _joined(causes: Sequence[str]) -> str | None:
    return "; and ".join(causes) or None


def _module_of(name: str) -> str:
    return block_of(name) or (EMBEDDING if name.startswith(EMBEDDING_NAMES) else AFTER)


def module_order(names: Iterable[str]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The modules of a model in the order in which they are computed, and the module of each of its tensors."""
    module = {name: _module_of(name) for name in names}
    return tuple(sorted(dict.fromkeys(module.values()), key=_depth)), module


def _depth(module: str) -> tuple[int, ...]:
    """Where a module stands in its model; the downsampling layer of a stage stands before the stage's blocks."""
    if module in (EMBEDDING, AFTER):
        return (-1,) if module == EMBEDDING else (10**9,)
    kind, *numbers = module.replace("layer", "layer.").split(".") if module.startswith("layer") else module.split(".")
    return (int(numbers[0]), -1) if kind == "downsample_layers" else tuple(map(int, numbers))
