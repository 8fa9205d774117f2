"""What is said of tensors that are recognised as a family's and do not fit it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dinoport.errors import PlanError
from dinoport.mapping.claims import Problem
from dinoport.mapping.folding import fold_names
from dinoport.model import Family
from dinoport.shown.text import as_word

CUT = "the file was cut, merged or renamed, or another code than upstream's wrote it"


def refusal(where: str, family: Family, label: str | None, problems: Iterable[Problem]) -> PlanError:
    """Every problem in one error, folded: alike names, and alike faults, in one line."""
    by_what: dict[str, list[str]] = {}
    told: set[str] = set()
    for problem in problems:
        if problem.name not in told:
            by_what.setdefault(problem.what, []).append(problem.name)
            told.add(problem.name)
    lines = [f"{name} {what}" for what, names in by_what.items() for name in fold_names(names)]
    count, tensors = len(told), "tensor does" if len(told) == 1 else "tensors do"
    return unfit(where, f" as {family.title}: {count} {tensors} not fit", lines, label)


def unfit(where: str, why: str, problems: Sequence[str], label: str | None = None, cause: str = CUT) -> PlanError:
    """The error for a file that cannot be converted, with every problem in a line; `why` goes on from there."""
    step = f"dinoport inspect {as_word(where)}"
    return PlanError(f"{where} cannot be converted{why}", problems, where=label or None, cause=cause, next_step=step)
