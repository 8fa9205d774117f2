"""Files of a repository that a publication replaces, and that somebody else wrote, or edited since the last one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from dinoport.errors import SettingError
from dinoport.files.json_text import parse_object
from dinoport.files.remote.repository import ListedFile, Repository
from dinoport.formats.transformers_folder import MAX_JSON_BYTES
from dinoport.work.folder import REPORT
from dinoport.work.folder_files import entries_of
from dinoport.work.parcel import Parcel
from dinoport.writing.ownership import CARD


def edited_there(
    repository: Repository, parcel: Parcel, commit: str, there: Mapping[str, ListedFile]
) -> tuple[str, ...]:
    """Those that the report there does not list as they are: what dinoport sent itself may be replaced."""
    replaced = [name for name in parcel.unlike(there) if name in there and name != REPORT]
    if not replaced:
        return ()
    entries = _entries(repository, commit, there)
    edited = []
    for name in replaced:
        entry = entries.get(name)
        if entry is None or not there[name].has_hash_of(entry, partial(_read, repository, commit, there[name])):
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
    """Raise SettingError for a card that somebody else wrote or edited: only its own words can bring it back."""
    if CARD not in edited:
        return
    raise SettingError(
        f"{CARD} of {repository.name} was written or edited on the Hub, and would be replaced; nothing was sent",
        where=f"{repository.page}/blob/{commit}/{CARD}",
        expected=f"no {CARD}, or the one that dinoport published",
        next_step=(
            "to keep its words, save the file from there, and give it as `card`",
            "to replace it, give another card of yours as `card`",
        ),
    )
