"""Whether the files of a folder, besides the tensors, are what a conversion of this source writes.

Every byte of a folder is held by something: weights, configs and the card by the hashes in dinoport.json, dinoport.json
by its own. A hash tells what was damaged or edited by hand. It is not a signature: a forger forges the hash too.
So whatever can be computed again from the source is computed again, and compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dinoport.codebases.fields import HARMLESS, Finding, same_json
from dinoport.codebases.transformers.class_fields import OURS, POOLER_FIELDS
from dinoport.codebases.transformers.stated_sizes import too_large
from dinoport.errors import CheckpointError, printable
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.transformers_folder import CONFIG, REPORT, read_json
from dinoport.report.report import Report
from dinoport.shown.text import shown, value_text
from dinoport.tensor import size_text
from dinoport.work.conversion import Conversion
from dinoport.work.folder import CONFIGS, broken_hashes, entries_of, is_weights, strange_files, weights_read
from dinoport.work.past_report import at, plain, source_files, without
from dinoport.work.proving import has_own_pooler


@dataclass(frozen=True)
class Fault:
    """A fault of a folder, in words. One that is `harmless` still lets Transformers load the folder."""

    what: str
    harmless: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", printable(self.what))  # it quotes a stranger's fields and file names


def faults_of(conversion: Conversion, path: Path, folder: Checkpoint, *, another: bool) -> Iterator[Fault]:
    """What in the two configs makes another model, files that nobody writes there, and hashes that do not hold.

    `another` says that the source is another file than the one that was converted.
    """
    config, writing = folder.config or {}, conversion.writing
    own_pooler = has_own_pooler(folder)
    safe = bool(conversion.documents) and writing.is_safe(conversion.documents, config, folder.tensors)
    for name, expected in conversion.documents.items():
        found = _read_json(path / name)
        if not isinstance(found, dict):
            there = (path / name).exists()
            if not there and name != CONFIG and folder.report is None:
                continue  # a class without its processor: what is made of pictures is not shown
            yield Fault(f"{name} is missing or not a JSON object" if there else f"{name} is missing")
            continue
        for finding in writing.findings(conversion.target, name, expected, found):
            of_pooler = own_pooler and finding.field in POOLER_FIELDS
            if finding.effect not in HARMLESS and not of_pooler:
                harmless = safe and finding.effect == "outputs"
                yield Fault(f"{name}: {finding.field} {_differs(finding, writing.LIBRARY)}", harmless)
        # Without a report, as with another source, nothing says that this is the file that was converted.
        untold = another or folder.report is None
        left_out = () if not untold else ("lost",) if conversion.model.record else OF_THE_ORIGINAL
        ours, theirs = (without(left_out, config.get(OURS)) for config in (expected, found))
        if OURS in found and not same_json(ours, theirs):  # what did not come along lies in the file that was converted
            yield Fault(f"{name}: {OURS} is {value_text(theirs)}, expected {value_text(ours)}", safe)
    if not safe:
        yield from map(Fault, too_large(config, folder.tensors))
    for name in strange_files(path, folder, conversion.documents.keys()) if conversion.documents else ():
        yield Fault(f"{shown(name, 200)} is in the folder, and no conversion writes it there")
    if folder.report is not None:
        broken = broken_hashes(path, folder.report, documents=False)
        yield from (Fault(each.what, harmless=True) for each in broken if each.name not in _compared(folder))


OF_THE_ORIGINAL = ("lost", "rounded_periods", "without")
"""Fields of our own in config.json, of what a folder of another's making does not know of its original."""

NAMES = {"transformers": "Transformers"}


def _differs(finding: Finding, library: str) -> str:
    if finding.effect in ("none", "outputs"):
        if finding.ours is None:
            return f"is {'null' if finding.theirs is None else value_text(finding.theirs)}, and should not be set"
        return f"is {value_text(finding.theirs)}, expected {value_text(finding.ours)}"
    by = (
        f"by which {NAMES.get(library, library)} may open something else"
        if finding.effect == "opens"
        else "in a field that no class knows"
    )
    return f"is {value_text(finding.theirs)}, {by}"


def _compared(folder: Checkpoint) -> frozenset[str]:
    """Files of which everything that has a meaning is compared, so that a hash says no more."""
    read = weights_read(folder)  # where others than the listed ones are, these were saved again under another name
    listed = [entry["name"] for entry in entries_of(folder.report or {}) if entry]
    return CONFIGS | read | {name for name in listed if read and is_weights(name)}


def listed_of(conversion: Conversion, path: Path, folder: Checkpoint) -> tuple[str, ...]:
    """What is not as a conversion writes it, and makes no other model: fields without effect, files saved again."""
    listed = []
    for name, expected in conversion.documents.items():
        found = _read_json(path / name)
        if not isinstance(found, dict):
            continue
        moved = "output" if name == CONFIG else "pixel"
        compared = conversion.writing.findings(conversion.target, name, expected, found)
        words = {"none": f", and moves no {moved}", "pooled": ": its pooled output is another, and was not compared"}
        findings = [(each, words[each.effect]) for each in compared if each.effect in HARMLESS]
        listed += [f"{name}: {each.field} is {value_text(each.theirs)}{does}" for each, does in findings]
        if OURS in expected and OURS not in found:
            listed.append(f"{name} has no field {OURS!r}, which no class reads; --to original needs it")
    broken = broken_hashes(path, folder.report, documents=False) if folder.report is not None else ()
    for each in broken:
        if each.name in _compared(folder) and not (each.name in conversion.documents and each.missing):
            now = "the weights that are there were compared" if each.missing else "what it holds was compared"
            listed.append(f"{each.what}; {now}")
    return tuple(map(printable, listed))


def warnings_of(path: Path, folder: Checkpoint, fresh: Report, *, another: bool) -> tuple[str, ...]:
    """What is not as it was when the folder was made, and makes no other model."""
    if folder.report is None:
        return ()
    changed = [f"{each.what}; no model is made of it" for each in broken_hashes(path, folder.report, documents=True)]
    if another:
        source, exact = fresh.source, fresh.proofs.exact
        kind, size_bytes = (plain(at(folder.report, ("source", name))) for name in ("format", "size_bytes"))
        changed.append(
            f"{source.where} ({source.format}, {source.size_bytes} bytes) is another file than the one that was "
            f"converted ({kind}, {size_bytes} bytes); its tensors are {'' if exact and exact.passed else 'not all '}"
            "equal, and what else that one held was not looked at"
        )
    return tuple(map(printable, changed))


def remarks_of(path: Path, folder: Checkpoint, fresh: Report, *, another: bool) -> tuple[str, ...]:
    """What could not be looked at."""
    if path.is_file():
        return (f"only the tensors of {fresh.source.where} and {path} were compared",)
    if folder.report is None:
        return (
            f"{path} has no {REPORT}: its README.md was not looked at, nor what the source holds besides its tensors",
        )
    if another:
        return ()  # a warning says so
    then = [file.get("other_sha256") for file in source_files(folder.report)]
    hashes = zip(fresh.source.files, [*then, *[""] * len(fresh.source.files)], strict=False)
    unpinned = sum(file.other_bytes for file, old in hashes if None in (file.other_sha256, old))
    if not unpinned:
        return ()
    return (f"{size_text(unpinned)} of the source, besides the tensors converted, were not looked at",)


def _read_json(path: Path) -> object:
    try:
        return read_json(path)
    except CheckpointError:
        return None
