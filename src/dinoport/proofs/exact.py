"""The exact proof: both sides are read afresh and decoded to canonical tensors, each by its own codebase's table.

These are equal bit for bit, or were declared, dropped or computed again from the source. The encoding that wrote the
target is not asked. It proves transport; that the tables themselves are right is pinned by the recorded lists in
tests/fixtures/mapping.

A checksum that a file carries is computed once, over the bytes as they are read in order: by the writer, or here where
nothing was written before. Either way the bytes that it covers are those that are compared.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.formats.storage import Storage, summed_storages
from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.decoding import Decoding, Made
from dinoport.mapping.operations import Kind, Operation
from dinoport.mapping.plan import Step
from dinoport.proofs.compared import Compared, aligned, compare, first_difference, held_as
from dinoport.tensor import TensorRef, is_matrix

WORKERS = 2
"""Comparing is bound by memory and checksums; a third thread gains nothing on the machines measured."""


@dataclass(frozen=True)
class ExactProof:
    """What became of every tensor of both sides, counted in canonical tensors.

    `found` are equal bit for bit, `recomputed` have no inverse and were computed again from the source, `synthesised`
    are in one side alone and hold what a codebase declares for them, `dropped` are left out for a reason. `checksums`
    are those of the source that hold. `unheld` are those of which the target holds what the source has no place for,
    and no output depends on: they were not compared. `zero_matrices` are those of its `matrices` that are zero
    throughout; they and `nonfinite` have the source's own names.
    """

    found: int = 0
    recomputed: int = 0
    synthesised: int = 0
    dropped: int = 0
    compared_bytes: int = 0
    checksums: int = 0
    unheld: tuple[str, ...] = ()
    nonfinite: Mapping[str, int] = field(default_factory=dict)
    matrices: int = 0
    zero_matrices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def zero_share(self) -> str:
        count = len(self.zero_matrices)
        return f"{count} of {self.matrices} matrices {'is' if count == 1 else 'are'}"

    @property
    def mostly_zero(self) -> bool:
        """Whether half of the matrices hold nothing: more than a classifier that was not trained, or a table."""
        return bool(self.zero_matrices) and 2 * len(self.zero_matrices) >= self.matrices


def prove(
    source: Decoding,
    target: Decoding,
    on_bytes: Callable[[int], None] = lambda count: None,
    *,
    cast: np.dtype[Any] | None = None,
    anew: Mapping[str, Operation] | None = None,
    known: Mapping[str, Compared] | None = None,
    unused: Collection[str] | None = None,
) -> ExactProof:
    """Compare every canonical tensor of both sides.

    `cast` is the dtype that weights were to be rounded to, `anew` the operations without an inverse, by canonical name.
    `known` are those that were compared before, while their file was in memory, `unused` those that no output depends
    on, where the target need not be what a conversion writes: what one side has no place for is then no difference.
    """
    lenient = unused or ()
    problems = [f"{problem.name} of the target {problem.what}" for problem in target.problems]
    problems += [f"{name} is not in the target" for name in _unmade(target)]
    pairs: list[tuple[Step, Step]] = []
    made: list[tuple[str, TensorRef, TensorRef, str]] = []
    dropped = len(source.aside)
    for name, step in source.steps.items():
        other = target.steps.get(name)
        if other is None or _is_declared(other):
            dropped += 1
            if other is None and not _drops(target, name) and name not in lenient:
                problems.append(f"{name} is neither found again nor dropped by a rule")
        elif _is_declared(step):
            made.append((name, step.tensor(), other.tensor(), step.reason))
        else:
            pairs.append((step, other))
    problems += [
        f"{held_as(step)} of the target has no source: {name} is not in the original"
        for name, step in target.steps.items()
        if name not in source.steps and not _is_declared(step) and name not in lenient
    ]
    alone = [name for name in target.steps if name in lenient and name not in source.steps]

    def one_of(step: Step, other: Step) -> Compared:
        before = (known or {}).get(step.target.name)
        return before or compare(step, other, cast, anew or {}, on_bytes)

    storages = summed_storages([*(step.tensor() for step, _ in pairs), *(each.tensor for each in source.made)])
    of_target = summed_storages(step.tensor() for _, step in pairs)
    with _workers() as pool:
        comparisons = list(pool.map(lambda pair: one_of(pair[0], pair[1]), pairs))
        problems += [text for text in pool.map(_checksum_problem, [*storages, *of_target]) if text]
    problems += [text for comparison in comparisons for text in comparison.problems]
    otherwise = {name: why for name, one, other, why in made if not _same(one, other)}
    problems += [f"{name} is not what was declared: {why}" for name, why in otherwise.items() if name not in lenient]
    wrong = {each.tensor.name: text for each in (*source.made, *target.made) if (text := _check_made(each))}
    problems += [text for name, text in wrong.items() if name not in lenient]
    unheld = {_lacking(source.steps[each.name]): each.unheld for each in comparisons if each.unheld}
    problems += unheld.values() if unused is None else ()
    own = {step.target.name: held_as(step) for step, _ in pairs}
    matrices = {step.target.name for step, _ in pairs if is_matrix(step.target.shape)}
    return ExactProof(
        found=sum(not comparison.recomputed for comparison in comparisons),
        recomputed=sum(comparison.recomputed for comparison in comparisons),
        synthesised=len(made) + len(target.made),
        dropped=dropped,
        compared_bytes=sum(step.target.size_bytes for step, _ in pairs),
        checksums=len(storages),
        unheld=() if unused is None else (*alone, *filter(unused.__contains__, {**otherwise, **wrong}), *unheld),
        nonfinite={own[each.name]: each.census.nonfinite for each in comparisons if each.census.nonfinite},
        matrices=len(matrices),
        zero_matrices=tuple(
            own[each.name]
            for each in comparisons
            if each.census.all_zero and not each.problems and each.name in matrices
        ),
        problems=tuple(problems),
    )


def compare_whole(
    source: Decoding,
    target: Decoding,
    *,
    cast: np.dtype[Any] | None = None,
    anew: Mapping[str, Operation] | None = None,
) -> dict[str, Compared]:
    """Compare the canonical tensors that `target`, one written file of several, holds whole."""
    whole = {name: step for name, step in target.steps.items() if name in source.steps and _is_whole(target, step)}
    pairs = [(source.steps[name], step) for name, step in whole.items() if not _is_declared(source.steps[name])]
    with _workers() as pool:
        found = pool.map(lambda pair: compare(pair[0], pair[1], cast, anew or {}, lambda count: None), pairs)
        return {comparison.name: comparison for comparison in found}


def _is_whole(target: Decoding, step: Step) -> bool:
    """Whether no part of a canonical tensor is missing."""
    claims = claims_of_source(step.target.name, target.rules)
    held = sum(not span.is_declared for span in step.spans)
    return not _is_declared(step) and any(held == sum(map(bool, claim.rule.targets)) for claim in claims)


def _is_declared(step: Step) -> bool:
    """Whether a canonical tensor lies in no file: its codebase has no place for it."""
    return step.kind is Kind.SYNTHESISED


def _lacking(step: Step) -> str:
    """What a side has no place for of a tensor that it holds otherwise."""
    parts = [str(number) for number, span in enumerate(step.spans, start=1) if span.is_declared]
    return f"{step.target.name} (part {' and '.join(parts)} of {len(step.spans)})"


def _drops(target: Decoding, name: str) -> bool:
    """Whether the target's table has no place for a tensor: a second name for another has that one's."""
    rules = (claim.rule for claim in claims_of_source(name, target.rules))
    return any(rule.kind is Kind.DROPPED and rule.alias is None for rule in rules)


def _unmade(target: Decoding) -> list[str]:
    """What the target's codebase makes for itself, and the target lacks."""
    there = {made.tensor.name for made in target.made}
    wanted = (rule.targets[0].template for rule in target.rules if rule.source is None and rule.targets[0])
    return [name for name in wanted if name not in there]


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """A pool that gives up what it has not begun when the user stops the run."""
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_made(made: Made) -> str | None:
    """Whether a tensor that was made for a codebase holds what its rule declares."""
    constant, tensor = made.rule.constant, made.tensor
    if constant is None or constant.shape != tensor.shape:
        return f"{tensor.name} has not the shape that was declared for it"
    if _same(constant.tensor(tensor.name, tensor.dtype), tensor):
        return None
    return f"{tensor.name} is not what was declared ({constant})"


def _same(one: TensorRef, other: TensorRef) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(first_difference(left, right) is None for left, right in aligned(one.blocks(), other.blocks()))


def _checksum_problem(storage: Storage) -> str | None:
    """What is wrong with bytes that have a checksum in their file."""
    try:
        storage.check()
    except CheckpointError as error:
        said = [error.where, error.expected and f"expected {error.expected}", error.found and f"found {error.found}"]
        return f"{error.what} ({', '.join(filter(None, said))})"
    return None
