"""Whether the files of a folder, besides the tensors, are what a conversion of this source writes.

Every byte of a folder is held by something: weights, configs and the card by the hashes in dinoport.json, dinoport.json
by its own. A hash tells what was damaged or edited by hand. It is not a signature: a forger forges the hash too.
So whatever can be computed again from the source is computed again, and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoport.codebases.fields import Finding, same_json
from dinoport.codebases.transformers.class_fields import OURS
from dinoport.codebases.transformers.stated_sizes import too_large
from dinoport.errors import CheckpointError, printable
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.transformers_folder import CONFIG, read_json
from dinoport.model import FIELDS, Origin
from dinoport.proofs.verdict import MADE_OTHERWISE, Proofs
from dinoport.report.as_json import FORMAT, is_sealed
from dinoport.report.report import Report
from dinoport.request import Request
from dinoport.tensor import size_text
from dinoport.work.conversion import Conversion
from dinoport.work.folder import REPORT
from dinoport.work.folder_files import CONFIGS, RESEALED, broken_hashes, is_weights, strange_files, weights_read

OF_THE_FILE = (("source", "format"), ("source", "size_bytes"), ("source", "branch"))
"""Fields of dinoport.json that another file with the same tensors has otherwise."""

FORMATS = (1, FORMAT)
"""Layouts that a folder's report can have: 1 is that of 0.1, whose request does not say what `direction` says."""

COMPUTED_AGAIN = (
    ("direction",),
    *OF_THE_FILE,
    ("model", "family"),
    ("model", "class"),
    ("request",),
    ("accounting", "tensors"),
    ("accounting", "size_bytes"),
)
"""Fields of dinoport.json that follow from the source and the request alone. Words, which a later version may put
better, are left to the file's own hash."""

MAX_SHOWN = 200
"""Characters of a value that a message quotes."""


@dataclass(frozen=True)
class Problem:
    """A fault of a folder, in words. One that is `harmless` still lets Transformers load the folder."""

    what: str
    harmless: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", printable(self.what))  # it quotes a stranger's fields and file names


def problems_of(conversion: Conversion, path: Path, folder: Checkpoint, *, another: bool) -> Iterator[Problem]:
    """What in the two configs makes another model, files that nobody writes there, and hashes that do not hold.

    `another` says that the source is another file than the one that was converted.
    """
    config, writing = folder.config or {}, conversion.writing
    safe = bool(conversion.documents) and writing.is_safe(conversion.documents, config, folder.tensors)
    for name, expected in conversion.documents.items():
        found = _read_json(path / name)
        if not isinstance(found, dict):
            there = (path / name).exists()
            yield Problem(f"{name} is missing or not a JSON object" if there else f"{name} is missing")
            continue
        for finding in writing.findings(conversion.target, name, expected, found):
            if finding.effect != "none":
                harmless = safe and finding.effect == "outputs"
                yield Problem(f"{name}: {finding.field} {_differs(finding, writing.LIBRARY)}", harmless)
        ours, theirs = (_without(("lost",) if another else (), config.get(OURS)) for config in (expected, found))
        if OURS in found and not same_json(ours, theirs):  # what did not come along lies in the file that was converted
            yield Problem(f"{name}: {OURS} is {shown(theirs)}, expected {shown(ours)}", safe)
    if not safe:
        yield from map(Problem, too_large(config, folder.tensors))
    for name in strange_files(path, folder, conversion.documents.keys()) if conversion.documents else ():
        yield Problem(f"{shown(name, str)} is in the folder, and no conversion writes it there")
    if folder.report is not None:
        broken = broken_hashes(path, folder.report, documents=False)
        yield from (Problem(each.what, harmless=True) for each in broken if each.name not in _compared(folder))


NAMES = {"transformers": "Transformers"}


def _differs(finding: Finding, library: str) -> str:
    if finding.effect in ("none", "outputs"):
        return f"is {shown(finding.theirs)}, expected {shown(finding.ours)}"
    by = (
        f"by which {NAMES.get(library, library)} may open something else"
        if finding.effect == "opens"
        else "in a field that no class knows"
    )
    return f"is {shown(finding.theirs)}, {by}"


def _compared(folder: Checkpoint) -> frozenset[str]:
    """Files of which everything that has a meaning is compared, so that a hash says no more."""
    return CONFIGS | weights_read(folder) | {name for name in _listed_weights(folder) if weights_read(folder)}


def _listed_weights(folder: Checkpoint) -> Iterator[str]:
    """Weights that the report lists: where others are read, those were saved again under another name."""
    files = (folder.report or {}).get("files")
    names = (file.get("name") for file in files if isinstance(file, dict)) if isinstance(files, list) else ()
    return (name for name in names if isinstance(name, str) and is_weights(name))


def listed_of(conversion: Conversion, path: Path, folder: Checkpoint) -> tuple[str, ...]:
    """What is not as a conversion writes it, and makes no other model: fields without effect, files saved again."""
    listed = []
    for name, expected in conversion.documents.items():
        found = _read_json(path / name)
        if not isinstance(found, dict):
            continue
        moved = "output" if name == CONFIG else "pixel"
        compared = conversion.writing.findings(conversion.target, name, expected, found)
        findings = [finding for finding in compared if finding.effect == "none"]
        listed += [f"{name}: {each.field} is {shown(each.theirs)}, and moves no {moved}" for each in findings]
        if OURS in expected and OURS not in found:
            listed.append(f"{name} has no field {OURS!r}, which no class reads; --to original needs it")
    broken = broken_hashes(path, folder.report, documents=False) if folder.report is not None else ()
    listed += [f"{each.what}; what it holds was compared" for each in broken if each.name in _compared(folder)]
    return tuple(map(printable, listed))


def shown(value: object, form: Callable[[object], str] = repr) -> str:
    """A stranger's value, as far as a message needs it."""
    text = form(value)
    return f"{text[:MAX_SHOWN]} …" if len(text) > MAX_SHOWN else text


def contradictions(
    path: Path, recorded: Mapping[str, object], fresh: Report, given: Collection[str] = (), *, another: bool
) -> Iterator[str]:
    """What in a folder's dinoport.json is damaged, or is not what the source gives now.

    Of `another` file with the same tensors no more is asked than that it gives the same model. `given` are the fields
    of the request that the verifier says: what they make of the folder is in its config.
    """
    yield from map(printable, _contradictions(path, recorded, fresh, given, another))


def _contradictions(
    path: Path, recorded: Mapping[str, object], fresh: Report, given: Collection[str], another: bool
) -> Iterator[str]:
    yield from broken_seal(path, recorded)
    expected = fresh.to_dict()
    if (found := recorded.get("format")) not in FORMATS or type(found) is not int:
        yield f"{REPORT}: format is {shown(found)}, expected {' or '.join(map(str, FORMATS))}"
    left_out = ("to", "head", "labels", "config", "base", *given, *(("dropped",) if another else ()))
    for keys in COMPUTED_AGAIN:
        if another and (keys in OF_THE_FILE or (keys == ("model", "class") and fresh.request.get("to") == "original")):
            continue  # the class of a way back is what the source was
        found, computed = (_without(left_out, _at(report, keys)) for report in (recorded, expected))
        if not same_json(found, computed):
            yield f"{REPORT}: {'.'.join(keys)} is {shown(found)}, the source gives {shown(computed)}"
    settings, now = (_settings(report) for report in (recorded, expected))
    for name in sorted(settings.keys() | now.keys()):
        old, new = settings.get(name), now.get(name)
        weighed = old and new and Origin.READ.value in (old[1], new[1])  # by the weights, at some levels
        confirmed = old and new and old[0] == new[0] and (another or weighed or FIELDS.get(name) in given)
        unnamed = old is None and recorded.get("format") == 1  # dinoport 0.1 named fewer settings
        if name == "codebase" and another and None in (old, new):
            continue  # of a folder of Transformers none is told: the family is in its config, and is compared as such
        if old != new and not (confirmed or unnamed):
            yield f"{REPORT}: {name} is {shown(settings.get(name))}, the source gives {shown(now.get(name))}"
    if not another:
        yield from _changed_source(recorded, fresh)


def is_another_file(conversion: Conversion, folder: Checkpoint) -> bool:
    """Whether the source is evidently another file than the one that was converted: it has another size.

    One of the same size passes for that file, so what differs in it is damage.
    """
    if folder.report is None:
        return False
    then = [file.get("size_bytes") for file in _source_files(folder.report)]
    if not then:  # converted with --verify none
        return bool(_at(folder.report, ("source", "size_bytes")) != conversion.checkpoint.size_bytes)
    return then != [source.size_bytes for source in conversion.sources]


def made_otherwise(recorded: Request, given: Request | None) -> tuple[str, ...]:
    """Which options ask for something else than the folder was made with, by its own report."""
    then, now = recorded.to_dict(), (given or Request()).to_dict()
    differing = [name for name in now if name != "to" and now[name] != then.get(name)]
    return tuple(
        f"{MADE_OTHERWISE}`{name}={now[name]}` was given, the conversion had "
        + (f"`{name}={then[name]}`" if name in then else "no such option")
        for name in differing
    )


def which_changed(path: Path, recorded: Mapping[str, object] | None, proofs: Proofs) -> tuple[str, ...]:
    """Which of the two is not what it was when the folder was written, where their tensors differ."""
    if recorded is None or proofs.exact is None or proofs.exact.passed:
        return ()
    if any(broken_seal(path, recorded)):
        return (f"which of the two changed cannot be told: {REPORT} was changed itself",)
    if not is_as_written(path, recorded):
        return (f"of the two, the folder changed: it does not have the hashes with which it was written ({REPORT})",)
    return (
        f"the folder has the hashes with which it was written ({REPORT}): the source changed since, or is another file",
    )


def is_as_written(path: Path, recorded: Mapping[str, object] | None) -> bool:
    """Whether the files of a folder, and its report, are what they were when they were written."""
    if recorded is None:
        return False
    return not any(broken_seal(path, recorded)) and not any(broken_hashes(path, recorded, documents=False))


@contextmanager
def told_apart(which: str, where: object) -> Iterator[None]:
    """Say of a file that changes during a verification which of the two it belongs to."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            f"{which} changed while it was verified: {printable(str(where))}",
            where=error.what,
            expected=error.expected,
            found=error.found,
            cause=error.cause,
            next_step=error.next_step,
        ) from error


def warnings_of(path: Path, folder: Checkpoint, fresh: Report, *, another: bool) -> tuple[str, ...]:
    """What is not as it was when the folder was made, and makes no other model."""
    if folder.report is None:
        return ()
    changed = [f"{each.what}; no model is made of it" for each in broken_hashes(path, folder.report, documents=True)]
    if another:
        source, exact = fresh.source, fresh.proofs.exact
        kind, size_bytes = (shown(_at(folder.report, ("source", name)), str) for name in ("format", "size_bytes"))
        changed.append(
            f"{source.where} ({source.format}, {source.size_bytes} bytes) is another file than the one that was "
            f"converted ({kind}, {size_bytes} bytes); its tensors are {'' if exact and exact.passed else 'not all '}"
            "equal, and what else that one held was not looked at"
        )
    return tuple(map(printable, changed))


def broken_seal(path: Path, recorded: Mapping[str, object]) -> Iterator[str]:
    """Whether dinoport.json is not what it was when it was written."""
    if not is_sealed((path / REPORT).read_bytes(), recorded):
        yield RESEALED


def _without(names: Collection[str], value: object) -> object:
    """A request without fields that need not be the same: files lie elsewhere by now, what is in them is pinned."""
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if name not in names}
    return value


def remarks_of(path: Path, folder: Checkpoint, fresh: Report, *, another: bool) -> tuple[str, ...]:
    """What could not be looked at."""
    if path.is_file():
        return (f"of {fresh.source.where} and {path} nothing besides the tensors was looked at",)
    if folder.report is None:
        return (
            f"{path} has no {REPORT}: its README.md was not looked at, nor what the source holds besides its tensors",
        )
    if another:
        return ()  # a warning says so
    then = [file.get("other_sha256") for file in _source_files(folder.report)]
    hashes = zip(fresh.source.files, [*then, *[""] * len(fresh.source.files)], strict=False)
    unpinned = sum(file.other_bytes for file, old in hashes if None in (file.other_sha256, old))
    if not unpinned:
        return ()
    return (f"{size_text(unpinned)} of the source, besides the tensors converted, were not looked at",)


def _source_files(recorded: Mapping[str, object]) -> list[dict[str, Any]]:
    files = _at(recorded, ("source", "files"))
    return [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []


def _changed_source(recorded: Mapping[str, object], fresh: Report) -> Iterator[str]:
    """Bytes besides the tensors that were converted, which no proof compares."""
    for old, new in zip(_source_files(recorded), fresh.source.files, strict=False):
        if old.get("other_bytes") != new.other_bytes or _differ(old.get("other_sha256"), new.other_sha256):
            yield f"{new.name} is not the file that was converted: it differs besides the tensors that were"


def _differ(then: object, now: str | None) -> bool:
    """Whether two hashes contradict each other: one that was not made, for its size or the distance, does not."""
    return then is not None and now is not None and then != now


def _settings(report: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Value and origin of each setting; what was given to the conversion is a claim where it is not given again."""
    settings = _at(report, ("model", "settings"))
    found = [setting for setting in settings if isinstance(setting, dict)] if isinstance(settings, list) else []
    given = {Origin.CLAIMED.value: Origin.GIVEN.value}
    return {
        str(setting.get("name")): (setting.get("value"), given.get(str(setting.get("origin")), setting.get("origin")))
        for setting in found
    }


def _at(data: object, keys: tuple[str, ...]) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _read_json(path: Path) -> object:
    try:
        return read_json(path)
    except CheckpointError:
        return None
