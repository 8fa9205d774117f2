"""`publish`: what was proven goes to the Hub in one commit, and is read back from there.

Killed at any moment and run again, it ends with one commit and one pull request: what lies there is looked at before
anything is sent, and once more where an answer does not come.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoport.errors import HubError, NotProvenError, SettingError, UsageError
from dinoport.files.folders import LocalFolder
from dinoport.files.json_file import json_bytes
from dinoport.files.json_text import parse_object
from dinoport.files.remote.repository import AGAIN, Commit, Head, Listed, Outgoing, PullRequest, Repository
from dinoport.formats.transformers_folder import INDEXES, MAX_JSON_BYTES, PROCESSOR, WEIGHTS
from dinoport.progress import READING, Progress
from dinoport.proofs.verdict import Word
from dinoport.report.as_json import is_sealed, sealed
from dinoport.report.published import Published, SentFile
from dinoport.work.cleaning import cleaned_card, cleaned_report, private_places, source_name
from dinoport.work.folder import REPORT
from dinoport.work.folder_files import RESEALED, broken_entry, entries_of
from dinoport.writing.ownership import CARD
from dinoport.writing.published_card import published_card, read_card, verdict_line

PROVEN = frozenset({Word.EQUAL.value, Word.EQUAL_EXCEPT.value, Word.TRANSPORTED.value})

MAIN = "main"

PULL_REQUESTS = "refs/pr/"
"""How revisions begin that are pull requests: they are there, as is their repository."""

MAX_TEXT_BYTES = 1024 * 1024
"""Of a file that is looked through for paths."""

SENDING = "sending"
READING_BACK = "reading back"

AUTOMATED = (
    "This was made by `dinoport publish`, which its user started by hand. It may be closed: "
    "it is not opened again after that."
)


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
    """What is sent, and what it says of itself. `left_out` are files of the folder that its report does not list."""

    files: tuple[Outgoing, ...]
    left_out: tuple[str, ...]
    title: str
    verdict: str
    line: str

    def is_in(self, there: Mapping[str, Listed]) -> bool:
        return not self.unlike(there) and not self.hiding(there)

    def unlike(self, there: Mapping[str, Listed]) -> list[str]:
        """Files that are not there as they are here."""
        return [file.name for file in self.files if file.name not in there or not there[file.name].holds(file)]

    def hiding(self, there: Mapping[str, Listed]) -> list[str]:
        """What Transformers would read there beside these files, or in place of them."""
        names = {file.name for file in self.files}
        whole = [WEIGHTS[0]] if INDEXES[0] in names else []
        return [name for name in (*whole, PROCESSOR) if name in there and name not in names]


def publish_folder(folder: Path, name: str, asked: Publication, on_progress: Progress) -> Published:
    """Send a folder to the repository `name`, and read it back.

    Raises NotProvenError for a folder that is not what was proven, and for a commit that is not what was sent; HubError
    for what the Hub refuses.
    """
    repository = Repository(name, asked.token)
    _check(asked)
    on_progress(READING, 0, 0)
    try:
        parcel = packed(folder, name, asked)
    except (KeyError, TypeError, AttributeError) as error:  # of a report that somebody else sealed
        raise _changed(folder, [f"{REPORT} is not as dinoport writes it"]) from error
    on_progress(SENDING, 0, 0)
    author = repository.user() if asked.create_pr else ""
    if not asked.create_pr and not (asked.revision or "").startswith(PULL_REQUESTS):
        repository.create(asked.private)
        if asked.revision is not None:
            repository.branch(asked.revision)
    head = repository.head(asked.revision)
    _refuse_other_visibility(repository, head, asked)
    there = repository.files(head.commit)
    if parcel.is_in(there):
        return _published(repository, parcel, asked, head, Commit(head.commit, None), there)
    uploaded: list[Any] = []
    if asked.create_pr:
        opened = _opened(repository, parcel, asked, author)
        if opened is None:
            uploaded = repository.upload(parcel.files, asked.revision)
            opened = _opened(repository, parcel, asked, author)  # an upload takes long: another run may be faster
        if opened is not None:
            return _proposed_before(repository, parcel, asked, head, opened)
    commit = _committed(repository, parcel, asked, head, there, author, uploaded)
    return _read_back(repository, parcel, asked, head, commit, there)


def packed(folder: Path, name: str, asked: Publication) -> Parcel:
    """Everything that is sent, held against the folder's report.

    Raises NotProvenError where something is not as it was proven, SettingError for a folder without a report.
    """
    report = _report_of(folder)
    problems = [each.what for entry in entries_of(report) for each in broken_entry(folder, entry)]
    if problems:
        raise _changed(folder, problems)
    listed = {str(entry["name"]): entry for entry in entries_of(report) if entry}
    source = source_name(report, asked.source_name)
    own = read_card(asked.card) if asked.card else None
    cleaned = cleaned_report(report, name, source)
    card = cleaned_card((folder / CARD).read_text(encoding="utf-8"), report, name, source) if CARD in listed else None
    files = [
        Outgoing(each, folder / each, int(entry["size_bytes"]), str(entry["sha256"]))
        for each, entry in listed.items()
        if each != CARD
    ]
    files.append(Outgoing.of(CARD, published_card(card, own, cleaned, name).encode()))
    files.append(Outgoing.of(REPORT, json_bytes(sealed({**cleaned, "files": [_entry(file) for file in files]}))))
    _refuse_private(files, private_places(report))
    left_out = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return Parcel(
        tuple(files),
        tuple(each for each in left_out if each not in {*listed, REPORT}),
        asked.commit_message or f"Add a {report['model']['family']}, converted by dinoport",
        str(cleaned["verdict"]["text"]),
        verdict_line(cleaned["verdict"]),
    )


def _refuse_private(files: Sequence[Outgoing], places: Collection[str]) -> None:
    """Raise SettingError for a small file that names a place of this machine all the same."""
    for file in files:
        if file.size_bytes > MAX_TEXT_BYTES:
            continue
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        found = next((place for place in places if place.encode() in content), None)
        if found is not None:
            raise SettingError(
                f"{file.name} names a place of this machine, and nothing was sent",
                where=file.name,
                found=found,
                next_step="convert under another name, or give `source_name`",
            )


def _check(asked: Publication) -> None:
    if asked.create_pr and asked.private is not None:
        raise UsageError(
            "`private` is for a repository of one's own, and `create_pr` for one that is there",
            next_step="give one of the two",
        )
    if asked.revision == "":
        raise UsageError("`revision` is empty", next_step="give the name of a branch, or leave `revision` out")


def _report_of(folder: Path) -> dict[str, Any]:
    """A folder's report, which is whole, and says that the folder was proven."""
    text = LocalFolder(folder).read(REPORT, MAX_JSON_BYTES) if folder.is_dir() else None
    if text is None:
        raise SettingError(
            f"{folder} cannot be published: it has no {REPORT}",
            expected="a folder that dinoport converted",
            next_step=f"dinoport convert SOURCE {folder}",
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
            next_step="dinoport convert SOURCE FOLDER, with `level='full'` or `level='exact'`",
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


def _refuse_other_visibility(repository: Repository, head: Head, asked: Publication) -> None:
    if asked.private is None or asked.private == head.private:
        return
    is_, other = ("private", "public") if head.private else ("public", "private")
    option = "`no_private`" if head.private else "`private`"
    raise SettingError(
        f"{repository.name} is {is_}, and a {other} one was asked for; nothing was sent",
        where=repository.page,
        cause="a repository that was there before keeps who may see it",
        next_step=f"change it at {repository.page}/settings, or leave {option} out",
    )


def _opened(repository: Repository, parcel: Parcel, asked: Publication, author: str) -> PullRequest | None:
    """The pull request that proposes these files, or earlier ones under the same title."""
    for opened in repository.pull_requests(author):
        if opened.status != "merged" and (
            opened.title == parcel.title or parcel.is_in(repository.files(opened.revision))
        ):
            return opened
    return None


def _proposed_before(
    repository: Repository, parcel: Parcel, asked: Publication, base: Head, opened: PullRequest
) -> Published:
    """What is done about a pull request that was opened before: it is brought up to date, and a closed one is a no."""
    if opened.status == "closed":
        raise SettingError(
            f"{repository.name} was offered this before, and its owner closed the pull request",
            where=opened.url,
            next_step="ask the owner; publish to a repository of your own",
        )
    head = repository.head(opened.revision)
    there = repository.files(head.commit)
    if parcel.is_in(there):
        return _published(repository, parcel, asked, head, Commit(head.commit, opened.url), there)
    on = Publication(revision=opened.revision)
    commit = _committed(repository, parcel, on, head, there, "")
    return _read_back(repository, parcel, asked, head, Commit(commit.oid, opened.url), there)


def _committed(
    repository: Repository,
    parcel: Parcel,
    asked: Publication,
    head: Head,
    there: Mapping[str, Listed],
    author: str,
    uploaded: Sequence[Any] = (),
) -> Commit:
    """Send the files. Where no answer comes, or a refusal, the Hub is asked whether they arrived all the same."""
    try:
        return repository.commit(
            parcel.files,
            parcel.title,
            "\n\n".join([parcel.line, *([AUTOMATED] if asked.create_pr else [])]),
            parent=head.commit,
            revision=asked.revision,
            create_pr=asked.create_pr,
            delete=parcel.hiding(there),
            uploaded=uploaded,
        )
    except HubError:
        with suppress(HubError):
            if arrived := _arrived(repository, parcel, asked, author):
                return arrived
        raise


def _arrived(repository: Repository, parcel: Parcel, asked: Publication, author: str) -> Commit | None:
    """The commit that holds the files, if its answer was lost."""
    if asked.create_pr:
        opened = _opened(repository, parcel, asked, author)
        if opened is None:
            return None
        commit, address = repository.head(opened.revision).commit, opened.url
        return Commit(commit, address) if parcel.is_in(repository.files(commit)) else None
    commit = repository.head(asked.revision).commit
    return Commit(commit, None) if parcel.is_in(repository.files(commit)) else None


def _read_back(
    repository: Repository,
    parcel: Parcel,
    asked: Publication,
    head: Head,
    commit: Commit,
    before: Mapping[str, Listed],
) -> Published:
    """Hold what lies at a commit against what was sent. Raises NotProvenError where they differ."""
    there = repository.files(commit.oid)
    if wrong := parcel.unlike(there):
        raise NotProvenError(
            f"{repository.name} does not hold what was sent",
            where=f"{repository.page}/tree/{commit.oid}",
            found=", ".join(wrong[:5]),
            cause="a file that changed while it was sent, or another commit at the same moment",
            next_step=AGAIN,
        )
    return _published(repository, parcel, asked, head, commit, there, removed=parcel.hiding(before))


def _published(
    repository: Repository,
    parcel: Parcel,
    asked: Publication,
    head: Head,
    commit: Commit,
    there: Mapping[str, Listed],
    removed: list[str] | None = None,
) -> Published:
    return Published(
        repository=repository.name,
        revision=asked.revision or MAIN,
        commit=commit.oid,
        url=f"{repository.page}/tree/{commit.oid}",
        verdict=parcel.verdict,
        is_new=removed is not None and commit.oid != head.commit,
        private=head.private,
        files=tuple(_sent(there[file.name]) for file in parcel.files),
        pull_request=commit.pull_request,
        left_out=parcel.left_out,
        removed=tuple(removed or ()),
    )


def _sent(file: Listed) -> SentFile:
    return SentFile(file.name, file.size_bytes, file.sha256 or file.git_sha1)
