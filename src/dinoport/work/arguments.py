"""What callers pass: a source of any kind, fields by their names, and what must be there before any work."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from dinoport.errors import MissingPackageError, UsageError
from dinoport.files.address import typed
from dinoport.request import Checks, Request
from dinoport.shown.packages import PROOF, installing, missing


class Module(Protocol):
    """A `torch.nn.Module`, or whatever gives its tensors by name as one does."""

    def state_dict(self) -> Any: ...


Source: TypeAlias = str | Path | Mapping[str, Any] | Module
"""A path, a published name, an address; or a state dict or a module in memory, of which nothing is pickled."""


OLD_NAMES = {"for_page": "pictures"}
"""What 0.1 called a field."""


def asked_for(request: Request | None, checks: Checks | None, asked: dict[str, Any]) -> tuple[Request, Checks]:
    """Both objects, with the fields that were given by name in their place.

    Raises TypeError for an unknown name, and UsageError for fields that exclude each other.
    """
    for old, new in OLD_NAMES.items():
        if old in asked:
            import warnings

            warnings.warn(f"{old} is now called {new}", DeprecationWarning, stacklevel=3)
            asked[new] = asked.pop(old)
    of_request, of_checks = ({field.name for field in fields(cls)} for cls in (Request, Checks))
    known = sorted(of_request | of_checks)
    if unknown := asked.keys() - known:
        from difflib import get_close_matches

        alike = get_close_matches(min(unknown), known, 1)
        meant = f"did you mean {alike[0]}?" if alike else f"known are {', '.join(known)}"
        raise TypeError(f"unknown argument {min(unknown)!r}; {meant}")
    own = replace(request or Request(), **{name: value for name, value in asked.items() if name in of_request})
    import numpy  # noqa: F401  # first: from below our own modules, its import takes 30 ms more

    from dinoport.work.refusals import refuse_together

    refuse_together(own)
    return own, replace(checks or Checks(), **{name: value for name, value in asked.items() if name in of_checks})


def given(source: Source) -> str | Path:
    """A source as the rest knows it: an object in memory bears its words, and is asked for its tensors once."""
    if isinstance(source, str):
        return source if type(source) is not str else typed(source)
    if isinstance(source, Path):
        return source
    from dinoport.formats.live import Live

    return Live.of(source)


def check_for_outputs(checks: Checks, to: str = "transformers") -> None:
    """Before anything is written: a picture and code that can be opened, and a proof that looks at them."""
    if checks.reference is not None:
        from dinoport.proofs.genuine import check_reference

        check_reference(checks.reference, checks.level, to)
    option = "`image`" if checks.image else "`all_sizes`"
    if (checks.image or checks.all_sizes) and checks.level != "full":
        raise UsageError(
            f"{option} is for the outputs, which `level={checks.level!r}` leaves out",
            next_step=f"leave `level` out, or {option}",
        )
    if checks.image is None:
        return
    from dinoport.proofs.picture import load_picture

    load_picture(checks.image, "give another `image`, or leave it out for a synthetic picture")


def refuse_early(
    source: str, target: Path, request: Request, checks: Checks, *, force: bool, keep_unproven: bool
) -> None:
    """For a plan: raise what a conversion raises before its work, apart from packages that are missing.

    These are a warning of the plan: another machine may have them.
    """
    from dinoport.writing.commit import refuse_in_use
    from dinoport.writing.place import refuse_overlap, refuse_taken

    check_for_outputs(checks, request.to)
    refuse_overlap(Path(source), target)
    refuse_taken(target, force=force, keep_unproven=keep_unproven)
    refuse_in_use(target)


def require_packages(level: str) -> None:
    """Before anything is written: a full proof needs torch, Transformers and Pillow."""
    if level == "full":
        refuse_missing("the full proof needs", or_else="or `level='exact'`, which needs none of these")


def refuse_missing(what: str, *others: str, or_else: str = "") -> None:
    """Raise MissingPackageError where the packages of the full proof, or these others, are missing."""
    if absent := missing(*PROOF, *others):
        steps = (installing(absent), or_else)
        raise MissingPackageError(f"{what} {', '.join(absent)} (not installed)", next_step=(*filter(None, steps),))
