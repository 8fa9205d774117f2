"""What is published of a folder: its files as they were proven, a card and a report without paths of this machine.

And what is replaced there: files that somebody else wrote, or edited since the last publication.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dinoport.errors import NotProvenError, SettingError
from dinoport.files.byte_sources import refuse_absent
from dinoport.files.folders import LocalFolder
from dinoport.files.json_file import json_bytes
from dinoport.files.json_text import parse_object
from dinoport.files.remote.repository import ListedFile, Outgoing, Repository
from dinoport.formats.transformers_folder import (
    CONFIG,
    INDEXES,
    MAX_JSON_BYTES,
    PROCESSOR,
    READ_BESIDE,
    REPORT,
    WEIGHTS,
)
from dinoport.progress import Progress
from dinoport.proofs.verdict import Word
from dinoport.report.as_json import is_sealed, sealed
from dinoport.shown.calls import FOLDER, SOURCE, call, runnable
from dinoport.work.cleaning import HOME, cleaned_card, cleaned_report, private_places, source_name
from dinoport.work.folder import RESEALED, broken_entry, entries_of, is_model, may_be_read, what_is_missing
from dinoport.writing.ownership import CARD
from dinoport.writing.published_card import published_card, read_card, verdict_line

PROVEN = frozenset({Word.EQUAL.value, Word.EQUAL_EXCEPT.value, Word.TRANSPORTED.value, Word.RECOMPUTED.value})

AS_IT_IS = "the words of your card went up as they are: they were searched for home folders alone"

OWN_WORDS = "own_words"
"""Says of a card in a published report that words of the user's are in it, which only they can bring back."""

MAX_TEXT_BYTES = 1024 * 1024
"""Of a file that is looked through for paths."""


@dataclass(frozen=True)
class Publication:
    """What is asked of a publication. None of `private` leaves to the Hub what it makes, and to a repository its state.

    `card` is the user's own model card, `source_name` what the source is to be called.
    """

    private: bool | None = None
    revision: str | None = None
    create_pr: bool = False
    commit_message: str | None = None
    token: str | None = None
    card: Path | None = None
    source_name: str | None = None


@dataclass(frozen=True)
class Parcel:
    """What is sent, and what it says of itself. `left_out` are files of the folder that its report does not list.

    `own_words` says that the card holds words of the user's.
    """

    files: tuple[Outgoing, ...]
    left_out: tuple[str, ...]
    title: str
    verdict: str
    line: str
    own_words: bool
    remarks: tuple[str, ...] = ()

    def is_in(self, there: Mapping[str, ListedFile]) -> bool:
        return not self.unlike(there) and not self.hiding(there)

    def is_proposed(self, there: Mapping[str, ListedFile], base: Mapping[str, ListedFile]) -> bool:
        """Whether a revision adds these weights to `base`, or a report of them. Its card may be another."""
        weights = [file for file in self.files if is_model(file.name)]
        added = [file.name for file in weights if there.get(file.name) != base.get(file.name)]
        reported = REPORT in there and there[REPORT] != base.get(REPORT)
        holds = all(file.name in there and there[file.name].holds(file) for file in weights)
        return bool(weights and holds and (added or reported))

    def beside(self, there: Mapping[str, ListedFile]) -> list[str]:
        """Files there for which `verify` says `changed`: the report does not list them, and they may be read."""
        names = {file.name for file in self.files}
        return [name for name in there if name not in names and may_be_read(name)]

    def hidden_by(self, there: Mapping[str, ListedFile]) -> list[str]:
        """Files there by which Transformers would load something else than these."""
        own = any(file.name == CONFIG for file in self.files)
        return [name for name in READ_BESIDE if own and name in there]

    def unlike(self, there: Mapping[str, ListedFile]) -> list[str]:
        """Files that are not there as they are here."""
        return [file.name for file in self.files if file.name not in there or not there[file.name].holds(file)]

    def hiding(self, there: Mapping[str, ListedFile]) -> list[str]:
        """What Transformers would read there beside these files, or in place of them."""
        names = {file.name for file in self.files}
        whole = [WEIGHTS[0]] if INDEXES[0] in names else []
        return [name for name in (*whole, PROCESSOR) if name in there and name not in names]


def packed(folder: Path, name: str, asked: Publication, on_progress: Progress) -> Parcel:
    """Everything that is sent, held against the folder's report.

    Raises NotProvenError where something is not as it was proven, SettingError for a folder without a report.
    """
    try:
        return _packed(folder, name, asked, on_progress)
    except (KeyError, TypeError, AttributeError) as error:  # of a report that somebody else sealed
        raise _changed(folder, [f"{REPORT} is not as dinoport writes it"]) from error


def _packed(folder: Path, name: str, asked: Publication, on_progress: Progress) -> Parcel:
    report = _sound_report(folder)
    problems = [each.what for entry in entries_of(report) for each in broken_entry(folder, entry, on_progress)]
    if problems:
        raise _changed(folder, problems)
    listed = {str(entry["name"]): entry for entry in entries_of(report) if entry}
    source = source_name(report, asked.source_name)
    own = _own_card(asked.card) if asked.card else None
    cleaned = cleaned_report(report, name, source)
    card = cleaned_card((folder / CARD).read_text(encoding="utf-8"), report, name, source) if CARD in listed else None
    files = [
        Outgoing(each, _content(folder / each, entry), int(entry["size_bytes"]), str(entry["sha256"]))
        for each, entry in listed.items()
        if each != CARD
    ]
    full, overruled = published_card(card, own, cleaned, name)
    files.append(Outgoing.of(CARD, full.encode()))
    entries = [_entry(file) for file in files]
    if own is not None:
        entries[-1][OWN_WORDS] = True
    files.append(Outgoing.of(REPORT, json_bytes(sealed({**cleaned, "files": entries}))))
    _refuse_private(files, private_places(report))
    left_out = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return Parcel(
        tuple(files),
        tuple(each for each in left_out if each not in {*listed, REPORT}),
        asked.commit_message or f"Add a {report['model']['family']}, converted by dinoport",
        str(cleaned["verdict"]["text"]),
        verdict_line(cleaned["verdict"]),
        own is not None,
        (*overruled, *([AS_IT_IS] if own is not None else [])),
    )


def _content(path: Path, entry: Mapping[str, Any]) -> bytes | Path:
    """A small file as it was found; a large one where it lies."""
    return path.read_bytes() if entry["size_bytes"] <= MAX_TEXT_BYTES else path


def _own_card(path: Path) -> str:
    """A user's card. Raises SettingError where its words name a home folder: they go up as they are."""
    text = read_card(path)
    if (found := HOME.search(text)) is not None:
        raise SettingError(
            "`card` names a home folder, and nothing was sent",
            where=f"{path}, line {text.count(chr(10), 0, found.start()) + 1}",
            found=found[0],
            next_step="take it out of the card, or write ~ for the folder",
        )
    return text


def _refuse_private(files: Sequence[Outgoing], places: Collection[str]) -> None:
    """Raise SettingError for a small file that still names a place of this machine."""
    for file in files:
        content = file.content if isinstance(file.content, bytes) else b""
        found = next((place for place in places if place.encode() in content), None)
        if found is not None:
            raise SettingError(
                f"{file.name} names a place of this machine, and nothing was sent",
                where=file.name,
                found=found,
                next_step="convert under another name, or give `source_name`",
            )


def _sound_report(folder: Path) -> dict[str, Any]:
    """A folder's report, which is whole, and says that the folder was proven."""
    refuse_absent(folder)
    text = LocalFolder(folder).read(REPORT, MAX_JSON_BYTES) if folder.is_dir() else None
    if text is None:
        lacks = what_is_missing(folder)
        raise SettingError(
            f"{folder} cannot be published: it {lacks}",
            expected="a folder that dinoport converted",
            next_step=(runnable("convert", SOURCE, FOLDER), call("publish", FOLDER, "owner/name")),
        )
    try:
        report: dict[str, Any] = parse_object(text)
    except ValueError as error:
        raise _changed(folder, [f"{REPORT}: {error}"]) from error
    if not is_sealed(text, report):
        raise _changed(folder, [RESEALED])
    word = report["verdict"]["word"]
    if word not in PROVEN:
        raise NotProvenError(
            f"{folder} is not published: its verdict is {word}",
            expected=", ".join(sorted(PROVEN)),
            found=str(report["verdict"]["text"]),
            next_step=runnable("convert", SOURCE, FOLDER),
        )
    return report


def _changed(folder: Path, problems: list[str]) -> NotProvenError:
    return NotProvenError(
        f"{folder} is not what was proven, and nothing was sent",
        found="; ".join(problems[:5]),
        cause="a file that was edited, cut or removed since",
        next_step="convert the source again; words of your own go into a card: `card=FILE`",
    )


def _entry(file: Outgoing) -> dict[str, object]:
    """A file as the published report lists it: by git's hash too, which is what the Hub tells of a small one."""
    known = {"git_sha1": file.git_sha1} if file.git_sha1 else {}
    return {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256, **known}


def edited_there(
    repository: Repository, parcel: Parcel, commit: str, there: Mapping[str, ListedFile]
) -> tuple[str, ...]:
    """Those that the report there does not list as they are: what dinoport sent itself may be replaced.

    A card with a user's words may be replaced by another one alone.
    """
    replaced = [name for name in parcel.unlike(there) if name in there and name != REPORT]
    if not replaced:
        return ()
    entries = _entries(repository, commit, there)
    edited = []
    for name in replaced:
        entry = entries.get(name)
        lost = entry is not None and OWN_WORDS in entry and not parcel.own_words
        if entry is None or lost or not there[name].has_hash_of(entry, partial(_read, repository, commit, there[name])):
            edited.append(name)
    return tuple(edited)


def _entries(repository: Repository, commit: str, there: Mapping[str, ListedFile]) -> dict[str, dict[str, object]]:
    """The files that the report there lists; none where nothing there can be read."""
    text = _read(repository, commit, there[REPORT]) if REPORT in there else None
    try:
        report = parse_object(text) if text is not None else {}
    except ValueError:
        return {}
    return {str(entry["name"]): entry for entry in entries_of(report) if entry}


def _read(repository: Repository, commit: str, file: ListedFile) -> bytes | None:
    return repository.read(file.name, commit) if file.size_bytes <= MAX_JSON_BYTES else None


def refuse_to_replace_a_card(edited: Collection[str], repository: Repository, commit: str) -> None:
    """Raise SettingError for a card with words that are not dinoport's."""
    if CARD not in edited:
        return
    raise SettingError(
        f"{CARD} of {repository.name} holds words of yours or of others, and would be replaced; nothing was sent",
        where=f"{repository.page}/blob/{commit}/{CARD}",
        expected=f"no {CARD}, or one with words of dinoport alone",
        next_step=(
            "to keep its words, save the file from there, and give it as `card`, or give the `card` of last time again",
            "to replace it, give another card of yours as `card`",
        ),
    )
