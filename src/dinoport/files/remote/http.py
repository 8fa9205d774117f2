"""HTTP as this package needs it: redirects looked at, refusals in words, and patience with servers that stumble."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from dinoport.errors import CheckpointError
from dinoport.files.address import Address, check_sound, is_inside, origin
from dinoport.files.byte_sources import closed_on_error
from dinoport.files.folders import unsound
from dinoport.files.remote.client import BrokenConnectionError, Response, send, unsound_address
from dinoport.files.remote.patience import Budget, Patience
from dinoport.shown.address import shown_address

MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may change."""

ABSENT = (404, 410)

UNENCODED = ("", "identity", "aws-chunked")
"""What Content-Encoding may say. The last stands at files of S3 whose uploader took it over, and which are plain."""

VALIDATOR = re.compile(r"[\x20-\x7e]{1,200}")
"""What is kept of an ETag or a date, and sent back; a server may put anything there."""

CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
LENGTH = re.compile(r"[0-9]{1,18}")
"""No file has more bytes than 18 digits count, and Python refuses to read thousands of digits."""


class RefusedError(CheckpointError):
    """A server that answered, and not with the file. `status` is what it said, `commit` that of a Hub's repository."""

    def __init__(self, what: str, status: int, *, commit: str | None = None, **parts: str | None) -> None:
        super().__init__(what, **parts)
        self.status, self.commit = status, commit

    @property
    def absent(self) -> bool:
        """Whether there is no such file."""
        return self.status in ABSENT


@dataclass(frozen=True)
class Validators:
    """What tells one version of a file from the next: its size, and what the server calls this version."""

    size_bytes: int | None
    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str], size_bytes: int | None) -> Validators:
        etag, last_modified = (headers.get(name, "") for name in ("etag", "last-modified"))
        kept = [text if VALIDATOR.fullmatch(text) else None for text in (etag, last_modified)]
        return cls(size_bytes, *kept)

    @property
    def strong(self) -> str | None:
        """What can stand in If-Range: bytes under a weak ETag may differ."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def contradicts(self, other: Validators) -> bool:
        """Whether the two cannot be of one version. What one of them does not say is not held against it."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def ask(address: Address, headers: Mapping[str, str], patience: Patience) -> Response:
    """GET an address, with another try for each answer that may change. The caller closes the response.

    Statuses 200, 206, 412 and 416 are the caller's to judge; raises RefusedError for all others that remain.
    """
    while True:
        try:
            begun = time.monotonic()
            response = _follow(address, headers)
        except BrokenConnectionError as error:
            patience.broke(error)
            continue
        with closed_on_error(response.close):
            patience.answered(time.monotonic() - begun)
            if response.status in (200, 206, 412, 416):
                _refuse_encoded(response, patience)
                return response
        with response:
            if response.status not in TRANSIENT:
                raise _refused(address, response)
        patience.failed(f"the server answers {response.status}", wait_seconds=_retry_after(response.headers))


def _refuse_encoded(response: Response, patience: Patience) -> None:
    """Raise CheckpointError for a body that would have to be unpacked first, and could then be of any size."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in UNENCODED:
        reason = f"the server sends it packed ({encoding}), which was not asked for"
        raise patience.over(reason, "download the file, and give its path")


def fetch_whole(address: Address, max_bytes: int, budget: Budget | None = None) -> tuple[bytes, str | None]:
    """A small file at once, from a server with ranges or without, and the commit of the Hub's repository it is in.

    Raises RefusedError where there is none, CheckpointError for one that is larger.
    """
    patience = Patience(address.shown, budget)
    while True:
        with ask(address, {}, patience) as response:
            if response.status != 200:
                raise patience.over(f"the server answers {response.status}")
            length = content_length(response)
            try:
                data = b"".join(head_of(response, max_bytes + 1))
            except BrokenConnectionError as error:
                patience.broke(error)
                continue
            if len(data) > max_bytes:
                raise unsound(address.shown, f"more than the {max_bytes} bytes that are sound")
            if length is None or len(data) == length:
                return data, response.commit
        patience.failed("the connection broke off")


def head_of(response: Response, size: int) -> Iterator[bytes]:
    """The body up to that many bytes: a server may send more than it was asked for, and never end."""
    for chunk in response.chunks():
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            return


def content_range(response: Response) -> tuple[int | None, int | None]:
    """The first byte of a 206 answer, and the size of the whole; None for what it does not say."""
    found = CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def content_length(response: Response) -> int | None:
    """The size of the body, where it is said."""
    length = response.headers.get("content-length", "")
    return int(length) if LENGTH.fullmatch(length) else None


def _follow(address: Address, headers: Mapping[str, str]) -> Response:
    refuse_offline(address.shown)
    url, commit = address.url, None
    try:
        origin(url)
    except ValueError:
        raise unsound_address() from None
    for _ in range(MAX_REDIRECTS):
        check_sound(url)
        at_home = origin(url) == origin(address.url)
        own = address.headers if at_home else {}
        response = send(url, {**own, **headers})
        target = response.headers.get("location")
        if at_home:
            commit = commit or response.headers.get("x-repo-commit")
        if response.status not in REDIRECTS or target is None:
            response.url, response.commit = url, commit
            return response
        with response:
            url = _redirected(address, url, target)
    raise CheckpointError(
        f"{address.shown} leads from one address to the next without end",
        found=f"{MAX_REDIRECTS} redirects, the last to {shown_address(url)}",
        next_step="open the address in a browser, and give the one that it ends at",
    )


def _redirected(address: Address, url: str, target: str) -> str:
    try:
        following = urljoin(url, target)
        before, after = urlsplit(url).scheme, urlsplit(following).scheme
        elsewhere = origin(following) != origin(url)
    except ValueError:
        raise CheckpointError(
            f"{address.shown} leads to an address that is not sound",
            cause="a server that is set up wrongly",
            next_step="give the address that the file is really at",
        ) from None
    found = f"a redirect to {shown_address(following)}"
    if after not in ("http", "https") or (before == "https" and after == "http"):
        expected = "https all the way" if before == "https" else "http or https"
        cause = "someone on the way who would like to change the file"
    elif elsewhere and is_inside(following) and not is_inside(address.url):
        expected = "an address that is open to all, as this one is"
        found += ", on this machine or in its own network"
        cause = "that would have this machine ask what it cannot reach itself"
    else:
        return following
    raise CheckpointError(
        f"{address.shown} leads to an address that is not followed",
        expected=expected,
        found=found,
        cause=f"a server that is set up wrongly, or {cause}",
        next_step="give the address that the file is really at",
    )


def is_offline() -> bool:
    """Whether nothing is to be fetched from anywhere."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def refuse_offline(what: str) -> None:
    """Raise CheckpointError where nothing is to be fetched from anywhere."""
    if is_offline():
        raise CheckpointError(
            f"{what} was not fetched: HF_HUB_OFFLINE is set",
            next_step="unset HF_HUB_OFFLINE, or fetch the file elsewhere and give its path",
        )


def _refused(address: Address, response: Response) -> RefusedError:
    status = response.status
    if status in (401, 403):
        what, cause = f"{address.shown} is refused", "the file is private or gated, or the address has expired"
    elif status in ABSENT:
        what, cause = f"{address.shown} does not exist", "a typing error, or a file that was moved"
    else:
        what, cause = f"{address.shown} could not be read", None
    next_step = address.advice or "open the address in a browser to see what the server says"
    found = f"HTTP status {status}"
    return RefusedError(what, status, commit=response.commit, found=found, cause=cause, next_step=next_step)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """What a server asks for, in seconds or as a date by its own clock; None where it does not say."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:18])  # more is as much too long, and takes time to read
    then = _date(text)
    now = _date(headers.get("date", "")) or datetime.now(timezone.utc)
    return (then - now).total_seconds() if then else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
