"""`publish`: what was proven goes to the Hub in one commit, and is read back from there.

Killed at any moment and run again, it ends with one commit and one pull request: what lies there is looked at before
anything is sent, and once more where an answer does not come.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dinoport.errors import HubError, NotProvenError, SettingError, UsageError
from dinoport.files.remote.hub_errors import AGAIN
from dinoport.files.remote.repository import BranchHead, Commit, ListedFile, PullRequest, Repository
from dinoport.progress import READING, Progress
from dinoport.report.published import Published, SentFile
from dinoport.work.parcel import Parcel, Publication, edited_there, packed, refuse_to_replace_a_card

MAIN = "main"

PULL_REQUESTS = "refs/pr/"
"""How revisions begin that are pull requests: they are there, as is their repository."""

SENDING = "sending"

AUTOMATED = (
    "This was made by `dinoport publish`, which its user started by hand. It may be closed: "
    "it is not opened again after that."
)


@dataclass(frozen=True)
class Sending:
    """One publication: what is sent, and where to. `author` is who opens the pull request, if one is asked for."""

    repository: Repository
    parcel: Parcel
    asked: Publication
    author: str = ""


@dataclass(frozen=True)
class Before:
    """What lay there before: where it stood, its files, and which of those that are replaced somebody else wrote."""

    head: BranchHead
    files: Mapping[str, ListedFile]
    edited: tuple[str, ...] = ()


def publish_folder(folder: Path, name: str, asked: Publication, on_progress: Progress) -> Published:
    """Send a folder to the repository `name`, and read it back.

    Raises NotProvenError for a folder that is not what was proven, and for a commit that is not what was sent; HubError
    for what the Hub refuses; SettingError where something of somebody else's would be lost.
    """
    repository = Repository(name, asked.token, sends=True)
    _check(asked)
    on_progress(READING, 0, 0)
    parcel = packed(folder, name, asked, on_progress)
    on_progress(SENDING, 0, 0)
    if asked.create_pr:
        return _propose(Sending(repository, parcel, asked, repository.user()))
    return _publish(Sending(repository, parcel, asked))


def _check(asked: Publication) -> None:
    if asked.create_pr and asked.private is not None:
        raise UsageError(
            "`private` is for a repository of one's own, and `create_pr` for one that is there",
            next_step="give one of the two",
        )
    if asked.revision == "":
        raise UsageError("`revision` is empty", next_step="give the name of a branch, or leave `revision` out")


def _publish(sending: Sending) -> Published:
    """Send to a branch, which is made where it is not there, once nothing speaks against it."""
    repository, asked = sending.repository, sending.asked
    may_be_new = asked.revision is not None and not asked.revision.startswith(PULL_REQUESTS)
    if not (asked.revision or "").startswith(PULL_REQUESTS):
        repository.create(asked.private)
    there = repository.find(asked.revision) if may_be_new else repository.head(asked.revision)
    head = there or repository.head(None)
    _refuse_other_visibility(repository, head, asked)
    before = _before(sending, head)
    if there is None and asked.revision is not None:
        repository.branch(asked.revision, head.commit)
    return _sent_to(sending, before)


def _propose(sending: Sending) -> Published:
    """Open a pull request, or go on with the one that was opened before."""
    repository, asked = sending.repository, sending.asked
    head = repository.head(asked.revision)
    before = Before(head, repository.files(head.commit))
    _refuse_what_hides(sending, before.files)
    if sending.parcel.is_in(before.files):
        return _published(sending, before, Commit(head.commit, None), before.files)
    uploaded: list[Any] = []
    opened = _opened(sending, before)
    if opened is None:
        uploaded = repository.upload(sending.parcel.files, asked.revision)
        opened = _opened(sending, before)  # an upload takes long: another run may be faster
    if opened is not None:
        return _proposed_before(sending, opened)
    before = replace(before, edited=edited_there(repository, sending.parcel, head.commit, before.files))
    return _read_back(sending, before, _committed(sending, before, uploaded))


def _before(sending: Sending, head: BranchHead) -> Before:
    """What lies at a commit. Raises SettingError for a card there that somebody else wrote, and would be lost."""
    there = sending.repository.files(head.commit)
    _refuse_what_hides(sending, there)
    edited = edited_there(sending.repository, sending.parcel, head.commit, there)
    if sending.asked.card is None:
        refuse_to_replace_a_card(edited, sending.repository, head.commit)
    return Before(head, there, edited)


def _sent_to(sending: Sending, before: Before, pull_request: str | None = None) -> Published:
    """One commit on top of what lay there before, unless all of it is there."""
    if sending.parcel.is_in(before.files):
        return _published(sending, before, Commit(before.head.commit, pull_request), before.files)
    commit = _committed(sending, before)
    return _read_back(sending, before, replace(commit, pull_request=pull_request))


def _refuse_what_hides(sending: Sending, there: Mapping[str, ListedFile]) -> None:
    """Raise SettingError where the verdict would not hold of what is loaded from the repository."""
    repository = sending.repository
    if hiding := sending.parcel.hidden_by(there):
        raise SettingError(
            f"{repository.name} holds {hiding[0]}, by which Transformers would load something else than what is sent; "
            "nothing was sent",
            where=repository.page,
            found=", ".join(hiding),
            next_step="remove it there, or publish to another repository",
        )


def _refuse_other_visibility(repository: Repository, head: BranchHead, asked: Publication) -> None:
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


def _opened(sending: Sending, base: Before) -> PullRequest | None:
    """The author's pull request that proposes these weights, whatever its title and its card; an open one first."""
    opened = [each for each in sending.repository.pull_requests(sending.author) if each.status != "merged"]
    for each in sorted(opened, key=lambda each: each.status == "closed"):
        if sending.parcel.is_proposed(sending.repository.proposed(each), base.files):
            return each
    return None


def _proposed_before(sending: Sending, opened: PullRequest) -> Published:
    """Bring a pull request that was opened before up to date. A closed one was declined."""
    repository = sending.repository
    if opened.status == "closed":
        raise SettingError(
            f"{repository.name} was offered this model before, and the pull request was closed",
            where=opened.url,
            next_step="ask the owner to open it again, or publish to a repository of your own",
        )
    on = replace(sending, asked=replace(sending.asked, revision=opened.revision, create_pr=False))
    done = _sent_to(on, _before(on, repository.head(opened.revision)), opened.url)
    return replace(done, revision=sending.asked.revision or MAIN)


def _committed(sending: Sending, before: Before, uploaded: list[Any] | None = None) -> Commit:
    """Send the files. Where no answer comes, or a refusal, the Hub is asked whether they arrived after all."""
    parcel, asked = sending.parcel, sending.asked
    said = [parcel.line, *([AUTOMATED] if asked.create_pr else [])]
    if asked.create_pr and before.edited:
        said.append(f"It replaces what lies there: {', '.join(before.edited)}.")
    try:
        return sending.repository.commit(
            parcel.files,
            parcel.title,
            "\n\n".join(said),
            parent=before.head.commit,
            revision=asked.revision,
            create_pr=asked.create_pr,
            delete=parcel.hiding(before.files),
            uploaded=uploaded or (),
        )
    except HubError:
        with suppress(HubError):
            if arrived := _arrived(sending, before):
                return arrived
        raise


def _arrived(sending: Sending, before: Before) -> Commit | None:
    """The commit that holds the files, if its answer was lost."""
    repository, asked = sending.repository, sending.asked
    opened = _opened(sending, before) if asked.create_pr else None
    if asked.create_pr and opened is None:
        return None
    commit = repository.head(opened.revision if opened else asked.revision).commit
    there = repository.files(commit)
    return Commit(commit, opened.url if opened else None) if sending.parcel.is_in(there) else None


def _read_back(sending: Sending, before: Before, commit: Commit) -> Published:
    """Hold what lies at a commit against what was sent. Raises NotProvenError where they differ."""
    repository = sending.repository
    try:
        there = repository.files(commit.oid)
    except HubError as error:  # whose words are of a request before the commit
        raise HubError(
            f"{repository.name} took the commit, which could not be read back",
            where=f"{repository.page}/tree/{commit.oid}",
            found=error.found or error.what,
            next_step=AGAIN,
        ) from error
    if wrong := sending.parcel.unlike(there):
        raise NotProvenError(
            f"{repository.name} does not hold what was sent",
            where=f"{repository.page}/tree/{commit.oid}",
            found=", ".join(wrong[:5]),
            cause="a file that changed while it was sent, or another commit at the same moment",
            next_step=AGAIN,
        )
    return _published(sending, before, commit, there)


def _published(sending: Sending, before: Before, commit: Commit, there: Mapping[str, ListedFile]) -> Published:
    repository, parcel = sending.repository, sending.parcel
    is_new = commit.oid != before.head.commit
    return Published(
        repository=repository.name,
        revision=sending.asked.revision or MAIN,
        commit=commit.oid,
        url=f"{repository.page}/tree/{commit.oid}",
        verdict=parcel.verdict,
        is_new=is_new,
        private=before.head.private,
        files=tuple(
            SentFile(each.name, each.size_bytes, each.sha256 or each.git_sha1)
            for each in (there[file.name] for file in parcel.files)
        ),
        pull_request=commit.pull_request,
        left_out=parcel.left_out,
        removed=tuple(parcel.hiding(before.files)) if is_new else (),
        replaced=before.edited,
        beside=tuple(parcel.beside(there)),
        remarks=(*parcel.remarks, *commit.remarks),
    )
