"""The Hugging Face Hub: `hf://owner/repo/file`, or `hf://owner/repo` for its root as a folder of Transformers.

`@revision` stands behind the repo if it is not the main one.

Which address that is, which token goes along, and where a file may be cached already, huggingface_hub says itself, so
HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE mean here what they mean there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from dinoport.errors import CheckpointError, UsageError
from dinoport.files.address import Address
from dinoport.shown.address import shown_address

FILE = re.compile(
    r"hf://(?:(?P<kind>datasets|spaces|models)/)?"
    r"(?P<owner>[^/@?#]+)/(?P<name>[^/@?#]+)(?:@(?P<revision>[^/?#]+))?(?:/(?P<path>[^?#]*))?"
)
PAGE = re.compile(
    r"(?:(?P<kind>datasets|spaces)/)?"
    r"(?P<owner>[^/?#]+)/(?P<name>[^/?#]+)"
    r"(?:/(?P<view>resolve|blob|raw|tree)/(?P<revision>[^/?#]+)(?:/(?P<path>[^?#]*))?)?/?(?:[?#].*)?"
)
"""What follows the Hub's own address in that of a page or download."""

COMMIT = re.compile(r"[0-9a-f]{40}")

NAMES = (
    "each of at most 96 letters, digits, '_', '-' and '.'; no '-' or '.' comes first, last or twice in a row, and the "
    "name does not end in '.git'"
)
"""What huggingface_hub takes for the two parts of a repository's name."""

NAME_FAULTS = (
    ("an address", r"://"),
    ("{0!r}", r"[^\w./-]|--|\.\."),
    ("no '/'", r"\A[^/]*\Z"),
    ("more than one '/'", r"/[^/]*/"),
    ("nothing before '/'", r"\A/"),
    ("nothing after '/'", r"/\Z"),
    ("{0!r} at the beginning of a part", r"(?<![^/])[.-]"),
    ("{0!r} at the end", r"\.git\Z"),
    ("{0!r} at the end of a part", r"[.-](?![^/])"),
    ("{1} characters in one part", r"[^/]{97,}"),
)
"""What a name may break of that rule, and of `owner/name`: what is said, and what it looks like."""

KINDS = {"datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True)
class HubFile:
    """One file of a repository, or a folder, whose path is empty or ends in a slash.

    `kind` is None for a model, `revision` None for the main one.
    """

    repo: str
    path: str
    kind: str | None
    revision: str | None

    @property
    def is_folder(self) -> bool:
        return not self.path or self.path.endswith("/")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, and so never another version."""
        return COMMIT.fullmatch(self.revision or "") is not None

    def file(self, name: str) -> HubFile:
        """A file in this folder."""
        return replace(self, path=f"{self.path}{name}")

    def folder(self, path: str) -> HubFile:
        """A folder of the same repository; `path` is empty or ends in a slash."""
        return replace(self, path=path)

    def at(self, commit: str | None) -> HubFile:
        """The same at a commit that the Hub named: files of one repository belong together."""
        found = commit if COMMIT.fullmatch(commit or "") and not self.is_pinned else self.revision
        return replace(self, revision=found)

    def cached(self) -> Path | None:
        """The file in huggingface_hub's cache, if it is there and is what the Hub would send.

        A branch may have moved on since, so it is taken from the cache only offline.
        """
        from huggingface_hub import constants, try_to_load_from_cache

        if not (self.is_pinned or constants.HF_HUB_OFFLINE):
            return None
        found = try_to_load_from_cache(self.repo, self.path, revision=self.revision, repo_type=self.kind)
        return Path(found) if isinstance(found, str) else None

    def address(self) -> Address:
        from huggingface_hub import constants, get_token, hf_hub_url

        url = hf_hub_url(self.repo, self.path, repo_type=self.kind, revision=self.revision)
        page = f"{constants.ENDPOINT}/{self._folder}{self.repo}"
        # Not by `build_hf_headers`: for its user agent, version 2 asks the Hub another question first.
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        advice = f"look at {page}: accept its terms if it has some, then `hf auth login`, or set HF_TOKEN"
        return Address(url, self.shown, headers, advice)

    @property
    def shown(self) -> str:
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://{self._folder}{self.repo}{revision}/{quote(self.path)}"

    @property
    def _folder(self) -> str:
        return f"{self.kind}s/" if self.kind else ""


def name_fault(name: str) -> str | None:
    """What in a name is not taken; None where nothing is known to be wrong."""
    found = ((words, re.search(pattern, name, re.ASCII)) for words, pattern in NAME_FAULTS)
    return next((words.format(each[0], len(each[0])) for words, each in found if each), None)


def hub_file(source: str) -> HubFile | None:
    """The file or folder that a source names on the Hub; None for an address elsewhere.

    Raises CheckpointError for half an address.
    """
    from huggingface_hub import constants

    if source.lower().startswith("hf://"):
        found = FILE.fullmatch(source)
        if found is None:
            raise CheckpointError(
                f"{shown_address(source)} does not name a file or a repository on the Hub",
                expected="hf://owner/repo, hf://owner/repo/file, or hf://owner/repo@revision/file",
                next_step="look up the file's name on the repository's page",
            )
    else:
        before, at_hub, rest = source.partition(f"{constants.ENDPOINT}/")
        found = PAGE.fullmatch(rest) if at_hub and not before else None
        if found is None:
            return None
    kind, revision = KINDS.get(found["kind"] or ""), found["revision"]
    repo = f"{found['owner']}/{found['name']}"
    if fault := name_fault(repo):
        raise CheckpointError(
            f"{shown_address(source)} does not name a repository on the Hub",
            expected=f"an owner and a name, {NAMES}",
            found=fault,
            next_step="look up the repository's name on its page",
        )
    main = revision in (None, "main")
    path = unquote(found["path"] or "")
    if path and found.groupdict().get("view") == "tree":
        path = f"{path.rstrip('/')}/"
    return HubFile(repo, path, kind, None if main else unquote(revision))


def sound_token(given: str | None) -> str | None:
    """The token that was given, without blanks around it.

    Raises UsageError for one that cannot be sent, and for such a one that huggingface_hub finds.
    """
    from huggingface_hub import get_token

    if given is None:
        _check(get_token(), "HF_TOKEN, or the token of `hf auth login`,")
        return None
    token = given.strip()
    if not token:
        raise UsageError(
            "`token` is empty",
            expected="a token of the Hub",
            cause="a secret that is not set where this runs",
            next_step="set the secret, or leave `token` out, which takes HF_TOKEN or the token of `hf auth login`",
        )
    _check(token, "`token`")
    return token


def _check(token: str | None, which: str) -> None:
    strange = next((each for each in token or "" if not "!" <= each <= "~"), None)
    if strange is None:
        return
    named = {"\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab"}
    raise UsageError(
        f"{which} cannot be a token",
        expected="letters, digits and '_' on one line",
        found=f"{named.get(strange, 'a character that no token has')} in it",
        cause="more than the token was copied, or several lines",
        next_step="copy it again from https://huggingface.co/settings/tokens",
    )
