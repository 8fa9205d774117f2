"""A folder at an address: files whose names are known, since no web server is sure to list them."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from dinoport.errors import CheckpointError
from dinoport.files.address import Address
from dinoport.files.byte_sources import ByteSource, LocalFile
from dinoport.files.folders import LocalFolder, unsound
from dinoport.files.remote.fetching import CONNECTIONS, Fetching
from dinoport.files.remote.filesystem import FilesystemRanges
from dinoport.files.remote.http import RefusedError, fetch_whole, is_offline
from dinoport.files.remote.http_ranges import HttpRanges, NoRangesError
from dinoport.files.remote.hub import hub_file
from dinoport.files.remote.patience import Budget
from dinoport.files.remote.remote_file import RemoteFile
from dinoport.shown.address import scheme_of, shown_address

FIRST_BYTES = 1
"""Of each file, to learn its size: a run of many ranks has as many files, and most are not read from the start."""


class RemoteFolder:
    """Opens each file once. Nothing is spooled of a file of which nothing is read.

    In a repository of the Hub all files are those of one commit, the one that the Hub names with the first answer.
    """

    def __init__(self, url: str, fetching: Fetching | None = None, budget: Budget | None = None) -> None:
        """`url` ends in a slash, or names a folder on the Hub; a query behind it goes with every file."""
        self._budget = budget or Budget()
        self.where = shown_address(url)
        self._before, _, query = url.partition("?")
        self._query = f"?{query}" if query else ""
        self._hub = hub_file(url)
        self._fetching = fetching or Fetching()
        self._files: dict[str, ByteSource] = {}
        self._small: dict[str, bytes | None] = {}

    @property
    def commit(self) -> str | None:
        """What the Hub's repository was read at, where the user did not say."""
        return self._hub.revision if self._hub and self._hub.is_pinned else None

    def named(self, name: str) -> str:
        return self._hub.file(name).shown if self._hub else shown_address(f"{self._before}{name}{self._query}")

    def open(self, name: str) -> ByteSource:
        """Raises CheckpointError for a server that refuses, or that has no ranges: a folder is not fetched whole."""
        if name not in self._files:
            cached = self._cached(name)
            self._files[name] = LocalFile(cached) if cached else RemoteFile(self._ranges(name), fetching=self._fetching)
        return self._files[name]

    def missing(self, names: Sequence[str]) -> list[str]:
        """A few are looked at at a time: a run has as many files as it had ranks."""
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="dinoport-looking") as pool:
            there = list(pool.map(self._is_there, names))
        return [name for name, is_there in zip(names, there, strict=True) if not is_there]

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """A small file, from a server without ranges too. It is asked for once."""
        if name not in self._small:
            if self._is_out_of_reach(name):
                return None
            try:
                self._small[name], commit = self._whole(name, max_bytes)
                self._stay_at(commit)
            except RefusedError as error:
                self._stay_at(error.commit)
                if not error.absent:
                    raise
                self._small[name] = None
        return self._small[name]

    def save(self, name: str, path: Path, size_bytes: int) -> None:
        """Fetch a file whole, to a new file on this machine. Raises CheckpointError as `open` does.

        `size_bytes` is what was listed: for as much there is room.
        """
        if cached := self._cached(name):
            shutil.copyfile(cached, path)
            return
        ranges = self._ranges(name)
        if ranges.size_bytes != size_bytes:
            raise unsound(ranges.where, f"{ranges.size_bytes} bytes, where {size_bytes} are listed")
        self._fetching.expect(size_bytes)
        with path.open("xb") as file:
            for piece in ranges.stream(0, ranges.size_bytes):
                file.write(piece)
                self._fetching.add(len(piece))

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _is_there(self, name: str) -> bool:
        if self._is_out_of_reach(name):
            return False
        try:
            self.open(name)
        except RefusedError as error:
            if not error.absent:
                raise
            return False
        return True

    def _is_out_of_reach(self, name: str) -> bool:
        """Whether the Hub's cache, which is all that there is offline, does not have a file."""
        return self._hub is not None and is_offline() and self._cached(name) is None

    def _stay_at(self, commit: str | None) -> None:
        if self._hub:
            self._hub = self._hub.at(commit)

    def _cached(self, name: str) -> Path | None:
        return self._hub.file(name).cached() if self._hub else None

    def _address(self, name: str) -> Address | None:
        """For HTTP; None in a store."""
        if self._hub:
            return self._hub.file(name).address()
        is_http = scheme_of(self._before) in ("http", "https")
        return Address.of(f"{self._before}{quote(name)}{self._query}") if is_http else None

    def _whole(self, name: str, max_bytes: int) -> tuple[bytes, str | None]:
        if cached := self._cached(name):
            return LocalFolder(cached.parent).read(cached.name, max_bytes) or b"", None
        if address := self._address(name):
            return fetch_whole(address, max_bytes, self._budget)
        ranges = FilesystemRanges(f"{self._before}{name}{self._query}", self._budget)
        if ranges.size_bytes > max_bytes:
            raise unsound(ranges.where, f"{ranges.size_bytes} bytes, where at most {max_bytes} are sound")
        return b"".join(ranges.stream(0, ranges.size_bytes)), None

    def _ranges(self, name: str) -> HttpRanges | FilesystemRanges:
        address = self._address(name)
        if address is None:
            return FilesystemRanges(f"{self._before}{name}{self._query}", self._budget)
        try:
            return HttpRanges(address, FIRST_BYTES, self._budget)
        except NoRangesError:
            raise CheckpointError(
                f"{self.where} is on a server that gives no ranges",
                expected="a server that sends parts of files, as most do",
                found="the whole file, whatever part was asked for",
                next_step="download the folder, and give its path",
            ) from None
