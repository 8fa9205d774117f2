"""What is said of tensors that are recognised as a family's and do not fit it."""

from collections.abc import Collection, Iterable, Sequence

from dinoport.errors import PlanError
from dinoport.mapping.claims import Problem
from dinoport.mapping.folding import fold_names
from dinoport.model import Family
from dinoport.shown.calls import call

CUT = "the file was cut, merged or renamed, or another code than upstream's wrote it"
ADDED = "a part that another code built into the model, such as adapters, prompts or norms, or a file that was merged"
WITHOUT_NORM = (
    "a detector, a segmenter or another code that takes what the blocks give, or norms it without weights; every class "
    "here has a norm with weights behind them"
)

NOT_PART = "is not part of this model"
LAST_NORM = {f"norm.{leaf} is missing" for leaf in ("weight", "bias")}
OF_CONVNEXT = LAST_NORM | {line.replace("norm", "norms.3") for line in LAST_NORM}
"""Which has two names for it."""


def cause_of(lines: Collection[str]) -> str:
    """The likely cause of these faults, where they are of one kind."""
    if all(line.endswith(NOT_PART) for line in lines):
        return ADDED
    return WITHOUT_NORM if {*lines} in (LAST_NORM, OF_CONVNEXT) else CUT


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
    return unfit(where, f" as {family.title}: {count} {tensors} not fit", lines, label, cause_of(lines))


def unfit(where: str, why: str, problems: Sequence[str], label: str | None = None, cause: str = CUT) -> PlanError:
    """The error for a file that cannot be converted, with every problem in a line; `why` goes on from there."""
    step = call("inspect", where)
    return PlanError(f"{where} cannot be converted{why}", problems, where=label or None, cause=cause, next_step=step)
