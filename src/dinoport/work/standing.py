"""`verify` without a source: whether a folder's files are those that its own dinoport.json lists."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dinoport.errors import SettingError, UsageError, printable
from dinoport.exports.place import exported_at
from dinoport.files.address import local_folder
from dinoport.files.byte_sources import refuse_absent
from dinoport.files.json_text import parse_object
from dinoport.files.remote.repository import git_sha1
from dinoport.formats.transformers_folder import MAX_JSON_BYTES, REPORT
from dinoport.progress import READING, Progress
from dinoport.report.as_json import is_sealed
from dinoport.report.standing import Standing
from dinoport.request import Checks, Request
from dinoport.shown.address import is_at_hub
from dinoport.shown.calls import FOLDER, SOURCE, runnable
from dinoport.work.folder import RESEALED, broken_entry, entries_of, may_be_read, what_is_missing
from dinoport.work.hub_folder import HubFolder, hub_folder

TRUSTED = "the Hub's listing: that its files have the hashes by which it lists them was not computed here"


def standing_of(place: str | Path, request: Request, checks: Checks, on_progress: Progress) -> Standing:
    """Hold a folder, here or on the Hub, against its own report.

    Raises SettingError where it has none, and UsageError for options: it takes none.
    """
    if request != Request() or checks != Checks():
        raise UsageError(
            "a folder without its source is compared with its own report, which takes no options",
            next_step=(runnable("verify", SOURCE, FOLDER), "without its source, leave the options out"),
        )
    on_progress(READING, 0, 0)
    if is_at_hub(place):
        return _at_hub(hub_folder(str(place), on_progress))
    return _here(local_folder(place), on_progress)


def _here(folder: Path, on_progress: Progress) -> Standing:
    path = folder / REPORT
    refuse_absent(folder)
    if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
        raise _no_report(str(folder), what_is_missing(folder))
    text = path.read_bytes()
    report = _parsed(text)
    broken = [each.what for entry in entries_of(report) for each in broken_entry(folder, entry, on_progress)]
    names = [each.name for each in folder.iterdir()]
    return _standing(str(folder), text, report, [*broken, *_unlisted(report, names)])


def _at_hub(folder: HubFolder) -> Standing:
    listed = folder.files.get(REPORT)
    text = folder.remote.read(REPORT, MAX_JSON_BYTES) if listed else None
    if listed is None or text is None:
        raise _no_report(folder.where, f"has no {REPORT}")
    report = _parsed(text)
    changes = [] if git_sha1(text) == listed.git_sha1 else [f"{REPORT} is not the file that the Hub lists"]
    changes += [what for entry in entries_of(report) for what in _broken(folder, entry)]
    return _standing(
        folder.where, text, report, [*changes, *_unlisted(report, folder.files)], commit=folder.commit, trusts=TRUSTED
    )


def _broken(folder: HubFolder, entry: Mapping[str, object] | None) -> Iterator[str]:
    """What one listed file is not, by the hash that the Hub tells of it."""
    if entry is None:
        yield f"{REPORT} names a file that cannot be in the folder"
        return
    name = str(entry["name"])
    there = folder.files.get(name)
    if there is None:
        yield f"{name} is missing"
    elif there.size_bytes != entry.get("size_bytes"):
        yield f"{name} has another size than {REPORT} says"
    elif not there.has_hash_of(entry, lambda: folder.remote.read(name, MAX_JSON_BYTES)):
        yield f"{name} has another sha256 than {REPORT} says"


def _unlisted(report: Mapping[str, object], names: Mapping[str, object] | list[str]) -> Iterator[str]:
    """Files that may change what the folder loads as."""
    listed = {REPORT, *(str(entry["name"]) for entry in entries_of(report) if entry)}
    for name in sorted(names):
        if name not in listed and may_be_read(name):
            yield f"{name} is in the folder, and {REPORT} does not list it"


def _standing(
    where: str,
    text: bytes,
    report: Mapping[str, object],
    changes: list[str],
    commit: str | None = None,
    trusts: str | None = None,
) -> Standing:
    seal = [] if is_sealed(text, report) else [RESEALED]
    verdict = report.get("verdict")
    claims = verdict.get("text") if isinstance(verdict, Mapping) else None
    files = [str(entry["name"]) for entry in entries_of(report) if entry]
    return Standing(
        where,
        printable(claims) if isinstance(claims, str) else None,
        (*map(printable, files), REPORT),
        tuple(map(printable, [*seal, *changes])),
        commit,
        trusts,
    )


def _parsed(text: bytes) -> dict[str, object]:
    """What a report says; nothing of one that cannot be read, whose seal is then broken too."""
    try:
        return parse_object(text)
    except ValueError:
        return {}


def _no_report(where: str, lacks: str) -> SettingError:
    is_source = Path(where).is_file() and exported_at(Path(where)) is None
    return SettingError(
        f"{where} cannot be verified without its source: it {lacks}",
        expected="a folder that dinoport converted, or SOURCE and then the folder",
        next_step=runnable("verify", *((where, FOLDER) if is_source else (SOURCE, where))),
    )
