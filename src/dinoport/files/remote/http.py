"""HTTP as this package needs it: redirects looked at, refusals in words, and patience with servers that stumble."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from dinoport.errors import CheckpointError
from dinoport.files.address import Address, origin, shown
from dinoport.files.folders import unsound
from dinoport.files.remote.client import BrokenConnectionError, Response, send, unsound_address

MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may change."""

ABSENT = (404, 410)

WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try. It starts anew once bytes have come."""

WAITS_FOR_ANSWER = 2
"""How many of these are spent on a server that cannot be reached at all."""

MAX_WAIT_SECONDS = 60.0
"""A server that asks for more patience than this is not waited for."""

NOT_REACHED = "check the network and the address, or fetch the file elsewhere and give its path"

CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
LENGTH = re.compile(r"[0-9]{1,18}")
"""No file has more bytes than 18 digits count, and Python refuses to read thousands of digits."""

sleep = time.sleep


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
        return cls(size_bytes, headers.get("etag"), headers.get("last-modified"))

    @property
    def strong(self) -> str | None:
        """What can stand in If-Range: bytes under a weak ETag may differ."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def contradicts(self, other: Validators) -> bool:
        """Whether the two cannot be of one version. What one of them does not say is not held against it."""
        pairs = (
            (self.size_bytes, other.size_bytes),
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
        )
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


class Patience:
    """Counts failures in a row, waits after each, and gives up with the reason of the last."""

    def __init__(self, where: str, next_step: str = "try again later") -> None:
        self._where, self._next_step = where, next_step
        self._failures = 0

    def progressed(self) -> None:
        self._failures = 0

    def failed(self, reason: str, *, before_answer: bool = False, wait_seconds: float | None = None) -> None:
        """Wait before the next try. Raises CheckpointError when there have been enough."""
        tries = WAITS_FOR_ANSWER if before_answer else len(WAITS_SECONDS)
        seconds = WAITS_SECONDS[min(self._failures, tries - 1)] if wait_seconds is None else wait_seconds
        self._failures += 1
        if self._failures > tries or seconds > MAX_WAIT_SECONDS:
            wants = f", and asks to wait {seconds:.0f} seconds" if seconds > MAX_WAIT_SECONDS else ""
            raise self.over(reason + wants, NOT_REACHED if before_answer else None)
        sleep(seconds)

    def over(self, reason: str, next_step: str | None = None) -> CheckpointError:
        """What to raise where no further try is made."""
        return CheckpointError(
            f"{self._where} could not be read: {reason}",
            found=f"{self._failures} tries in a row failed" if self._failures > 1 else None,
            next_step=next_step or self._next_step,
        )


def ask(address: Address, headers: Mapping[str, str], patience: Patience) -> Response:
    """GET an address, with another try for each answer that may change. The caller closes the response.

    Statuses 200, 206, 412 and 416 are the caller's to judge; raises RefusedError for all others that remain.
    """
    while True:
        try:
            response = _follow(address, headers)
        except BrokenConnectionError as error:
            if error.useless:
                raise patience.over(str(error), NOT_REACHED) from None
            patience.failed(str(error), before_answer=error.before_answer)
            continue
        if response.status in (200, 206, 412, 416):
            return response
        with response:
            if response.status not in TRANSIENT:
                raise _refused(address, response)
        patience.failed(f"the server answers {response.status}", wait_seconds=_retry_after(response.headers))


@dataclass(frozen=True)
class Whole:
    """A small file. `commit` is that of the Hub's repository it is in."""

    data: bytes
    commit: str | None = None


def fetch_whole(address: Address, max_bytes: int) -> Whole:
    """A small file at once, from a server with ranges or without.

    Raises RefusedError where there is none, CheckpointError for one that is larger.
    """
    patience = Patience(address.shown)
    while True:
        with ask(address, {}, patience) as response:
            if response.status != 200:
                raise patience.over(f"the server answers {response.status}")
            length = content_length(response)
            try:
                data = b"".join(head_of(response, max_bytes + 1))
            except BrokenConnectionError as error:
                patience.failed(str(error))
                continue
            if len(data) > max_bytes:
                raise unsound(address.shown, f"more than the {max_bytes} bytes that are sound")
            if length is None or len(data) == length:
                return Whole(data, response.commit)
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
        found=f"{MAX_REDIRECTS} redirects, the last to {shown(url)}",
        next_step="open the address in a browser, and give the one that it ends at",
    )


def _redirected(address: Address, url: str, target: str) -> str:
    try:
        following = urljoin(url, target)
        before, after = urlsplit(url).scheme, urlsplit(following).scheme
    except ValueError:
        raise CheckpointError(
            f"{address.shown} leads to an address that is not sound",
            cause="a server that is set up wrongly",
            next_step="give the address that the file is really at",
        ) from None
    if after not in ("http", "https") or (before == "https" and after == "http"):
        raise CheckpointError(
            f"{address.shown} leads to an address that is not followed",
            expected="https all the way" if before == "https" else "http or https",
            found=f"a redirect to {shown(following)}",
            cause="a server that is set up wrongly, or someone on the way who would like to change the file",
            next_step="give the address that the file is really at",
        )
    return following


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
    """What a server asks for, in seconds; None where it does not say, or says it as a date."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None
