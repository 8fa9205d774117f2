"""Ranges of a file on a web server, all of one version of it."""

from collections.abc import Iterator
from dataclasses import replace

from dinoport.errors import CheckpointError
from dinoport.files.address import Address, origin
from dinoport.files.remote.client import BrokenConnectionError, Response
from dinoport.files.remote.http import (
    RefusedError,
    Validators,
    ask,
    content_length,
    content_range,
    head_of,
)
from dinoport.files.remote.patience import Budget, Patience

FIRST_BYTES = 64 * 1024
"""Asked for when a file is opened. The answer tells the file's size too, and readers want most of these bytes first."""

SHORT = "it sends less than what was asked for"

EXPIRED = (401, 403, 410)
"""What a signed address answers when its time is over; the address that led to it gives a new one."""


class NoRangesError(Exception):
    """The server sends the whole file, whatever is asked for. `validators` tell the version that it offers."""

    def __init__(self, validators: Validators) -> None:
        super().__init__()
        self.validators = validators


class HttpRanges:
    """A remote file that was found to give out ranges, with the `beginning` that came first."""

    def __init__(self, address: Address, first_bytes: int = FIRST_BYTES, budget: Budget | None = None) -> None:
        """Ask for the beginning. Files of one folder share a `budget`.

        Raises NoRangesError for a server without ranges, CheckpointError for one that refuses or cannot be reached.
        """
        self.where, self._address, self._budget = address.shown, address, budget or Budget()
        self._direct: Address | None = None
        self.beginning, self._version = self._open(first_bytes)
        self.size_bytes = self._version.size_bytes or 0
        self.tells_versions = bool(self._version.etag or self._version.last_modified)

    def stream(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield exactly the bytes from `start` to before `stop`, in pieces.

        Raises CheckpointError where the server refuses, and where the file is not what it was.
        """
        patience = Patience(self.where, self._budget)
        while start < stop:
            with self._ask(start, stop, patience) as response:
                try:
                    for data in head_of(response, stop - start):
                        yield data
                        start += len(data)
                        patience.progressed(len(data))
                except BrokenConnectionError as error:
                    patience.broke(error)
                    continue
            if start < stop:
                patience.failed(SHORT)

    def check_unchanged(self) -> None:
        """Raise CheckpointError if the server offers another version now. Costs one request of one byte."""
        if self.size_bytes:
            for _ in self.stream(0, 1):
                pass

    def _open(self, first_bytes: int) -> tuple[bytes, Validators]:
        patience = Patience(self.where, self._budget)
        while True:
            with ask(self._address, {"range": f"bytes=0-{first_bytes - 1}"}, patience) as response:
                if response.headers.get("content-range") == "bytes */0":
                    return b"", Validators(0, None, None)
                start, total = content_range(response)
                if response.status != 206 or start != 0 or total is None:
                    raise NoRangesError(_whole(response))
                try:
                    beginning = b"".join(head_of(response, min(total, first_bytes)))
                except BrokenConnectionError as error:
                    patience.broke(error)
                    continue
                self._remember(response)
                if len(beginning) == min(total, first_bytes):
                    return beginning, Validators.of(response.headers, total)
            patience.failed(SHORT)

    def _ask(self, start: int, stop: int, patience: Patience) -> Response:
        """Ask for a range, at the address that the last answer came from as long as that is good."""
        headers = {"range": f"bytes={start}-{stop - 1}"}
        if self._version.etag and not self._version.etag.startswith("W/"):
            headers["if-match"] = self._version.etag
        direct = self._direct
        try:
            response = ask(direct or self._address, headers, patience)
        except RefusedError as error:
            if direct is None or error.status not in EXPIRED:
                raise
            self._direct = None
            response = ask(self._address, headers, patience)
        first, total = content_range(response)
        found = Validators.of(response.headers, total)
        if response.status == 206 and first == start and not self._version.contradicts(found):
            self._remember(response)
            return response
        with response:
            raise self._changed(response)

    def _remember(self, response: Response) -> None:
        """Skip the redirects from now on; what is sent to the first address only does not go along."""
        if response.url != self._address.url:
            headers = self._address.headers if origin(response.url) == origin(self._address.url) else {}
            self._direct = replace(self._address, url=response.url, headers=headers)

    def _changed(self, response: Response) -> CheckpointError:
        if response.status == 200 and not self._version.contradicts(_whole(response)):
            return CheckpointError(
                f"{self.where} could not be read: the server stopped giving out ranges",
                next_step="download the file, and give its path",
            )
        return CheckpointError(
            f"{self.where} changed while it was read",
            expected=f"the version that was there at first: {_named(self._version)}",
            found=f"HTTP status {response.status}: {_named(_whole(response))}",
            cause="a training run or an upload is still writing it, or several servers that differ share the address",
            next_step="wait until it is complete, or download it and give its path",
        )


def _whole(response: Response) -> Validators:
    """What an answer says of the file as a whole."""
    whole = content_length(response) if response.status == 200 else content_range(response)[1]
    return Validators.of(response.headers, whole)


def _named(version: Validators) -> str:
    size = f"{version.size_bytes} bytes" if version.size_bytes is not None else None
    said = [size, f"ETag {version.etag}" if version.etag else None, version.last_modified]
    return ", ".join(filter(None, said)) or "nothing that tells its version"
