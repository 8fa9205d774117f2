"""`publish`: what was proven goes to the Hub in one commit, and is read back from there.

Killed at any moment and run again, it ends with one commit and one pull request: what lies there is looked at before
anything is sent, and once more where an answer does not come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dinoport.errors import HubError, NotProvenError, SettingError, UsageError
from dinoport.files.remote.hub_errors import AGAIN
from dinoport.files.remote.repository import Commit, Head, Listed, PullRequest, Repository
from dinoport.progress import READING, Progress
from dinoport.report.published import Published, SentFile
from dinoport.work.parcel import Parcel, Publication, packed

MAIN = "main"

PULL_REQUESTS = "refs/pr/"
"""How revisions begin that are pull requests: they are there, as is their repository."""

SENDING = "sending"

AUTOMATED = (
    "This was made by `dinoport publish`, which its user started by hand. It may be closed: "
    "it is not opened again after that."
)


def publish_folder(folder: Path, name: str, asked: Publication, on_progress: Progress) -> Published:
    """Send a folder to the repository `name`, and read it back.

    Raises NotProvenError for a folder that is not what was proven, and for a commit that is not what was sent; HubError
    for what the Hub refuses.
    """
    repository = Repository(name, asked.token)
    _check(asked)
    on_progress(READING, 0, 0)
    parcel = packed(folder, name, asked)
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


def _check(asked: Publication) -> None:
    if asked.create_pr and asked.private is not None:
        raise UsageError(
            "`private` is for a repository of one's own, and `create_pr` for one that is there",
            next_step="give one of the two",
        )
    if asked.revision == "":
        raise UsageError("`revision` is empty", next_step="give the name of a branch, or leave `revision` out")


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
    """Send the files. Where no answer comes, or a refusal, the Hub is asked whether they arrived after all."""
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
