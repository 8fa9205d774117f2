"""Whose a model is, where several codebases give it the same names: by a sure sign, by the user's word, by what fits.

A model is never called a DINO because nothing else was tried: where nothing tells, the verdict says so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from dinoport.codebases.catalogue import UNTOLD, naming_named, relatives
from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts, Naming
from dinoport.codebases.record import model_in
from dinoport.codebases.relative import Relative
from dinoport.errors import SettingError
from dinoport.model import CLAIM, Origin, Setting
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import option_of
from dinoport.shown.text import counted


class Told(NamedTuple):
    """Whose a model is taken for, and by what; no setting where nothing else has such names."""

    naming: Naming
    setting: Setting[str] | None = None
    clues: Clues | None = None
    remarks: tuple[str, ...] = ()

    def setting_beside(self, settings: Iterable[Setting[Any]]) -> Setting[str] | None:
        """The setting in which a model's own number of heads, where it is not assumed, has no other beside it."""
        assumed = any(each.name == "heads" and each.origin is Origin.ASSUMED for each in settings)
        if self.setting is None or self.clues is None or assumed:
            return self.setting
        like = naming_named(self.relative.like) if self.relative else self.naming
        return replace(self.setting, reason=_differences(like, self.clues, heads=False))

    @property
    def relative(self) -> Relative | None:
        code = self.naming.code
        return code if isinstance(code, Relative) else None


def tell(where: str, naming: Naming, clues: Clues, asked: str | None = None) -> Told:
    """Whose a model with the names of `naming` is. `asked` is the user's word.

    Raises SettingError where that is not a codebase, has other names, or contradicts a sure sign.
    """
    candidates = [naming, *relatives(naming.family)] if naming.family else [naming]
    told = _told(where, naming, candidates, clues, asked)
    if told.setting is None or told.setting.origin is not Origin.ASSUMED:
        return told
    written = clues.written()
    own = next((each for each in candidates if str(each.code.FAMILY) == written), None)
    return _taken(own, Origin.CLAIMED, clues.claim) if own else told


def _told(where: str, naming: Naming, candidates: Sequence[Naming], clues: Clues, asked: str | None) -> Told:
    """The same, where no report beside the file says it."""
    if asked is not None and asked not in {each.family or each.code.FAMILY.name for each in candidates}:
        raise _unfit(where, asked, candidates)
    unknown = naming_named(UNTOLD[naming.family]) if naming.family in UNTOLD else None
    if clues.untold and asked is None and unknown is not None:
        return Told(unknown, Setting("codebase", "not known", Origin.CLAIMED, clues.claim))
    fetched = next((each for each in candidates if each.family == clues.published), None)
    if fetched is not None and asked in (fetched.family, None):  # a closer look would read tensors
        return _taken(fetched, Origin.STORED, FETCHED)
    signs = _signs(candidates, clues)
    sure = next(((each, sign) for each, sign in signs if asked in (each.family, None)), None)
    if asked is not None and sure is None and signs:
        naming, sign = signs[0]
        what = f"`codebase={asked}` contradicts {where}, which is of {_title(naming)}"
        raise _refused(what, expected=f"`codebase={naming.family!r}`", found=sign)
    if sure is not None and (alike := _alike(sure[0], clues, asked)):
        return _taken(sure[0], Origin.ASSUMED, f"{sure[1]}; {alike}")
    if sure is not None:
        return _taken(sure[0], Origin.STORED, sure[1])
    chosen = next((each for each in candidates if each.family == asked), None)
    if chosen is not None:
        if isinstance(chosen.code, Relative) and (strange := chosen.code.contradicts(clues)):
            raise _refused(
                f"`codebase={asked}` does not fit {where}",
                expected=f"what a {_title(chosen)} has",
                found=strange,
                cause="a model of another codebase under the same names",
            )
        lacks = getattr(chosen.code, "always_told", "")
        if lacks and chosen.code.signs.likely(clues) is None:
            expected = f"{lacks}, as in every file of {_title(chosen)}"
            raise _refused(f"`codebase={asked}` does not fit {where}", expected=expected, found="none")
        return _taken(chosen, Origin.GIVEN, option_of("codebase"))
    guess = _guess(candidates, clues)
    doubtful = candidates if unknown is not None else candidates[1:]
    recorded = next((each for each in doubtful if each.family == clues.recorded), None)
    if recorded is not None and (guess is None or guess[0].family != recorded.family):
        return _taken(recorded, Origin.CLAIMED, CLAIM)
    if guess is not None:
        return _taken(guess[0], Origin.ASSUMED, f"{guess[1]}; {option_of('codebase')} decides")
    if unknown is not None:
        differ = _differences(naming, clues)
        return Told(unknown, Setting("codebase", "not known", Origin.ASSUMED, differ, doubted=True), clues)
    rivals = "" if _is_trained(naming, clues) else _rivals(naming, clues) or _alike(naming, clues, asked)
    return _taken(naming, Origin.ASSUMED, rivals) if rivals else Told(naming)


def _taken(naming: Naming, origin: Origin, reason: str) -> Told:
    """A model that is taken for one of these; what is assumed is doubted."""
    return Told(naming, Setting("codebase", _title(naming), origin, reason, doubted=origin is Origin.ASSUMED))


def is_untold(report: Mapping[str, Any]) -> bool:
    """Whether the dinoport.json beside a file of ours says that nothing told whose its model is."""
    return model_in(report).get("family") in [str(naming_named(family).code.FAMILY) for family in UNTOLD.values()]


def _alike(naming: Naming, clues: Clues, asked: str | None) -> str:
    """What else has the very tensors, and is not known here; empty where nothing has, or where the user names one."""
    code = naming.code
    found = code.alike(clues) if isinstance(code, Relative) and asked is None else None
    return f"nothing tells it from {found}; {option_of('codebase')} decides" if found else ""


def _is_trained(naming: Naming, clues: Clues) -> bool:
    """Whether a file has what this codebase's training keeps beside a backbone: its relatives come without."""
    beside: tuple[str, ...] = getattr(naming.code, "BESIDE", ())
    return any(f".{sign}" in f".{name}" for name in clues.tensors for sign in beside)


def _rivals(naming: Naming, clues: Clues) -> str:
    """Relatives that have the very names and shapes, each with what differs in it; empty where nothing does."""
    told = [f"{models} ({', '.join(differ)})" for models, differ in _differing(naming, clues, heads=True) if differ]
    *others, last = told or [""]
    named = f"{', '.join(others)} and {last}" if others else last
    return f"nothing tells it from {named}; {option_of('codebase')} decides" if named else ""


def _differing(own: Naming, clues: Clues, *, heads: bool) -> Iterator[tuple[str, list[str]]]:
    """Each relative that nothing excludes, with what moves outputs or pixels and differs in it."""
    for each in relatives(own.family):
        if not (each.code.always_told or each.code.contradicts(clues)):
            yield each.code.facts.models, [*_unlike(own, each.code, clues, heads=heads)]


FETCHED = "where it was fetched from"

_refused = partial(SettingError, next_step="leave `codebase` out")
"""The error for a `codebase` that the file contradicts."""


def _signs(candidates: Sequence[Naming], clues: Clues) -> list[tuple[Naming, str]]:
    """The candidates that something tells beyond doubt, the closer look first."""
    own, *others = candidates
    found = [(each, FETCHED) for each in candidates if each.family == clues.published]
    sign = _own_signs(own).sure(clues) if others or own.family in UNTOLD else None
    # What tells the family itself, those of its relatives that stand on its training write too, and more. With others'
    # signs it is a training of the family's that was changed.
    found += [
        (each, other)
        for each in others
        if (other := each.code.signs.sure(clues)) and (sign is None or each.code.facts.says_builder)
    ]
    return found or ([(own, sign)] if sign else [])


def _guess(candidates: Sequence[Naming], clues: Clues) -> tuple[Naming, str] | None:
    own, *others = candidates
    found = ((each, each.code.signs.likely(clues)) for each in others)
    guess = next(((each, sign) for each, sign in found if sign), None)
    sign = _own_signs(own).likely(clues) if guess is None and (others or own.family in UNTOLD) else None
    return guess or ((own, sign) if sign else None)


def _own_signs(naming: Naming) -> Signs:
    found: Signs = getattr(naming.code, "SIGNS", Signs())
    return found


def _title(naming: Naming) -> str:
    return str(naming.code.FAMILY.title)


def _differences(own: Naming, clues: Clues, *, heads: bool = True) -> str:
    """What moves outputs or pixels, and differs in relatives that nothing excludes: `12 heads in MoCo v3`."""
    differ: dict[str, list[str]] = {}
    for models, unlike in _differing(own, clues, heads=heads):
        for what in unlike:
            differ.setdefault(what, []).append(models)
    told = [f"{what} in {', '.join(names)}" for what, names in differ.items()]
    elsewhere = f"different elsewhere: {'; '.join(told)}" if told else "nothing in the file tells whose it is"
    return f"DINO's values are taken; {elsewhere}; {option_of('codebase')} decides"


def _unlike(own: Naming, relative: Relative, clues: Clues, *, heads: bool) -> Iterator[str]:
    """What moves outputs or pixels, and differs between a relative of a family and the family's `own` models."""
    width, _ = clues.size
    number = relative.facts.heads.get(clues.size, width // 64)
    if heads and number != width // 64:
        yield counted(number, "head")
    transform: Preprocessing = relative.FAMILY.preprocessing
    usual: Preprocessing = own.code.FAMILY.preprocessing
    if (transform.mean, transform.std) != (usual.mean, usual.std):
        yield "pixel statistics"
    if (transform.resize, transform.crop, transform.resample) != (usual.resize, usual.crop, usual.resample):
        square = transform.crop is usual.crop is None and transform.resample == usual.resample
        yield f"{transform.resize}×{transform.resize} pixels" if square else "resize or filter"
    facts: Facts | None = getattr(own.code, "FACTS", None)
    usual_rule = facts.interpolation if facts else None
    if relative.facts.interpolation not in (None, usual_rule):
        yield "resampling of positions"


def _unfit(where: str, asked: str, candidates: Sequence[Naming]) -> SettingError:
    from difflib import get_close_matches

    names = [each.family for each in candidates if each.family]
    close = get_close_matches(asked, names, n=1)
    return _refused(
        f"{where} has no model with the names of {asked}",
        expected=", ".join(names) or "a file under an original's names",
        found=f"`codebase={asked}`",
        did_you_mean=f"`codebase={close[0]!r}`" if close else None,
    )
