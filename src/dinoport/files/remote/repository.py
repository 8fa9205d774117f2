"""A model repository of the Hub that files are sent to, through huggingface_hub, and what it says goes wrong."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

from dinoport.errors import DinoportError, HubError, NotProvenError, UsageError
from dinoport.files.remote.http import is_offline
from dinoport.files.remote.hub import NAMES, name_fault, sound_token
from dinoport.files.remote.hub_errors import conflicting, told
from dinoport.shown.calls import FOLDER, call
from dinoport.shown.text import shown

Found = TypeVar("Found")

MAX_REGULAR_BYTES = 10 * 1024**2
"""The Hub keeps larger files by their SHA-256 alone; of smaller ones it may tell what git calls them instead."""


def git_sha1(content: bytes) -> str:
    """What git, and the Hub's listing, call a small file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Outgoing:
    """A file to be sent: its content, or where it lies, and what was found of it."""

    name: str
    content: bytes | Path
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Outgoing:
        return cls(name, content, len(content), hashlib.sha256(content).hexdigest())

    @cached_property
    def git_sha1(self) -> str | None:
        """None for a file that is too large for the Hub to tell it."""
        if self.size_bytes > MAX_REGULAR_BYTES:
            return None
        content = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self.changed()
        return git_sha1(content)

    def changed(self) -> NotProvenError:
        return NotProvenError(
            f"{self.name} changed while it was to be published, and nothing was sent",
            next_step="convert the source again, and leave the folder alone meanwhile",
        )


@dataclass(frozen=True)
class ListedFile:
    """A file as the Hub lists it. A large one has its `sha256`; of a small one only `git_sha1` says what is in it."""

    name: str
    size_bytes: int
    git_sha1: str
    sha256: str | None

    def holds(self, file: Outgoing) -> bool:
        if self.size_bytes != file.size_bytes:
            return False
        return self.sha256 == file.sha256 if self.sha256 else self.git_sha1 == file.git_sha1

    def has_hash_of(self, entry: Mapping[str, object], read: Callable[[], bytes | None]) -> bool:
        """Whether it is the file of an entry in dinoport.json; `read` is for a small one of another sender."""
        if self.sha256 is not None:
            return self.sha256 == entry.get("sha256")
        if "git_sha1" in entry:
            return self.git_sha1 == entry["git_sha1"]
        content = read()
        return content is not None and hashlib.sha256(content).hexdigest() == entry.get("sha256")


@dataclass(frozen=True)
class BranchHead:
    """Where a branch stands."""

    commit: str
    private: bool


@dataclass(frozen=True)
class PullRequest:
    number: int
    title: str
    status: str
    url: str

    @property
    def revision(self) -> str:
        return f"refs/pr/{self.number}"


@dataclass(frozen=True)
class Commit:
    """`remarks` are what the Hub says of its card."""

    oid: str
    pull_request: str | None
    remarks: tuple[str, ...] = ()


class Repository:
    """`owner/name`, with the token that is given or that huggingface_hub finds. Every method raises HubError."""

    def __init__(self, name: str, token: str | None = None, *, sends: bool = False) -> None:
        """Raises UsageError for what is not a name of a repository, or not a token."""
        from huggingface_hub import HfApi

        if fault := name_fault(name):
            raise UsageError(
                f"{name or 'an empty text'} does not name a repository on the Hub",
                expected=f"owner/name, {NAMES}",
                found=fault if name else None,
                next_step=call("publish", FOLDER, "owner/name"),
            )
        self.name, self.sends = name, sends
        self._api = HfApi(token=sound_token(token), library_name="dinoport")

    @property
    def page(self) -> str:
        return f"{self._api.endpoint}/{self.name}"

    @property
    def has_token(self) -> bool:
        from huggingface_hub import get_token

        return bool(self._api.token or get_token())

    def user(self) -> str:
        """Who the token is of."""
        with self._told():
            return str(self._api.whoami()["name"])

    def create(self, private: bool | None) -> None:
        """Make the repository, unless it is there. What the Hub makes by default is public.

        Where it is there, huggingface_hub looks for its address in the answer, which may have none.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._told():
            try:
                self._api.create_repo(self.name, private=private, exist_ok=True)
            except (KeyError, JSONDecodeError) as error:
                if _unless_missing(lambda: self.head(None), RepositoryNotFoundError) is None:
                    raise conflicting(self) from error

    def branch(self, revision: str, start: str) -> None:
        """Make a branch that starts at a commit, unless it is there."""
        with self._told():
            self._api.create_branch(self.name, branch=revision, revision=start, exist_ok=True)

    def head(self, revision: str | None) -> BranchHead:
        with self._told(revision):
            found = self._api.model_info(self.name, revision=revision)
            return BranchHead(str(found.sha), bool(found.private))

    def find(self, revision: str | None) -> BranchHead | None:
        """Where a branch stands; None for one that is not there."""
        return _unless_missing(lambda: self.head(revision))

    def read(self, name: str, commit: str) -> bytes:
        """A small file of a commit."""
        with self._told(commit), _quiet(), tempfile.TemporaryDirectory() as folder:
            place = self._api.hf_hub_download(self.name, name, revision=commit, local_dir=folder)
            return Path(place).read_bytes()

    def files(self, revision: str) -> dict[str, ListedFile]:
        """All files of a commit or a branch, by their paths."""
        with self._told(revision):
            found = self._api.list_repo_tree(self.name, recursive=True, revision=revision)
            return {each.path: _listed(each) for each in found if hasattr(each, "blob_id")}

    def proposed(self, opened: PullRequest) -> dict[str, ListedFile]:
        """All files of a pull request; none where its owner has removed its files."""
        return _unless_missing(lambda: self.files(opened.revision)) or {}

    def pull_requests(self, author: str) -> list[PullRequest]:
        """Those that someone opened, newest first."""
        with self._told():
            found = self._api.get_repo_discussions(self.name, author=author, discussion_type="pull_request")
            opened = [PullRequest(each.num, each.title, each.status, each.url) for each in found]
        return sorted(opened, key=lambda each: -each.number)

    def upload(self, files: Sequence[Outgoing], revision: str | None) -> list[Any]:
        """Send the large files of a pull request ahead of it: what `commit` then takes. No commit is made."""
        sent = self._additions(files)
        with self._told(revision), _quiet():
            self._api.preupload_lfs_files(self.name, sent, revision=revision, create_pr=True)
        return sent

    def commit(
        self,
        files: Sequence[Outgoing],
        message: str,
        description: str,
        *,
        parent: str,
        revision: str | None,
        create_pr: bool,
        delete: Sequence[str] = (),
        uploaded: Sequence[Any] = (),
    ) -> Commit:
        """Send files in one commit on top of `parent`, or as a pull request that is based on it."""
        from huggingface_hub import CommitOperationDelete

        sent = uploaded or self._additions(files)
        with self._told(revision), _quiet(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            done = self._api.create_commit(
                self.name,
                [*sent, *(CommitOperationDelete(name) for name in delete)],
                commit_message=message,
                commit_description=description,
                parent_commit=parent,
                revision=revision,
                create_pr=create_pr,
            )
        lines = [line for each in caught for line in str(each.message).splitlines() if line.startswith("- ")]
        said = tuple(f"the Hub says of README.md: {shown(line[2:])}" for line in lines)
        return Commit(done.oid, done.pr_url, said)

    def _additions(self, files: Sequence[Outgoing]) -> list[Any]:
        from huggingface_hub import CommitOperationAdd

        sent = []
        for file in files:
            try:
                added = CommitOperationAdd(file.name, file.content)
                is_same = added.upload_info.sha256.hex() == file.sha256  # hashed once more, for the Hub to compare
            except (OSError, ValueError):  # a file that is gone
                is_same = False
            if not is_same:
                raise file.changed()
            sent.append(added)
        return sent

    @contextmanager
    def _told(self, revision: str | None = None) -> Iterator[None]:
        """Say in one message what the Hub, or the way to it, refuses."""
        if is_offline():
            raise HubError(f"{self.name} was not asked for: HF_HUB_OFFLINE is set", next_step="unset HF_HUB_OFFLINE")
        try:
            yield
        except DinoportError:
            raise
        except Exception as error:
            raise told(self, error, revision) or error from error


def _unless_missing(ask: Callable[[], Found], missing: type[Exception] | None = None) -> Found | None:
    """What is asked for; None where it is `missing`: where there is no such revision, unless another error is named."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return ask()
    except HubError as error:
        if isinstance(error.__cause__, missing or RevisionNotFoundError):
            return None
        raise


def _listed(entry: Any) -> ListedFile:
    return ListedFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars of huggingface_hub: this package has its own."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not in its __all__
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
