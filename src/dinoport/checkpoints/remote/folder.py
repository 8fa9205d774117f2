"""A folder at an address: files whose names are known, since no web server is sure to list them."""

from __future__ import annotations

from collections.abc import Sequence

from dinoport.address import Address, scheme_of, shown
from dinoport.checkpoints.byte_sources import ByteSource
from dinoport.checkpoints.remote.fetching import Fetching
from dinoport.checkpoints.remote.filesystem import FilesystemRanges
from dinoport.checkpoints.remote.http import RefusedError
from dinoport.checkpoints.remote.http_ranges import HttpRanges, NoRangesError
from dinoport.checkpoints.remote.hub import hub_file
from dinoport.checkpoints.remote.remote_file import RemoteFile
from dinoport.errors import CheckpointError

FIRST_BYTES = 1
"""Of each file, to learn its size: a run of many ranks has as many files, and most are not read from the start."""

ABSENT = (404, 410)


class RemoteFolder:
    """Opens each file once. Nothing is spooled of a file of which nothing is read."""

    def __init__(self, url: str, fetching: Fetching | None = None) -> None:
        """`url` ends in a slash; a query behind it goes with every file."""
        self.where = shown(url)
        self._before, _, query = url.partition("?")
        self._query = f"?{query}" if query else ""
        self._fetching = fetching or Fetching()
        self._files: dict[str, ByteSource] = {}

    def open(self, name: str) -> ByteSource:
        """Raises CheckpointError for a server that refuses, or that has no ranges: a folder is not fetched whole."""
        if name not in self._files:
            self._files[name] = RemoteFile(self._ranges(f"{self._before}{name}{self._query}"), fetching=self._fetching)
        return self._files[name]

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not self._is_there(name)]

    def _is_there(self, name: str) -> bool:
        try:
            self.open(name)
        except RefusedError as error:
            if error.status not in ABSENT:
                raise
            return False
        return True

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _ranges(self, url: str) -> HttpRanges | FilesystemRanges:
        file = hub_file(url)
        if file is None and scheme_of(url) not in ("http", "https"):
            return FilesystemRanges(url)
        try:
            return HttpRanges(file.address() if file else Address.of(url), FIRST_BYTES)
        except NoRangesError:
            raise CheckpointError(
                f"{self.where} is on a server that gives no ranges",
                expected="a server that sends parts of files, as most do",
                found="the whole file, whatever part was asked for",
                next_step="download the folder, and give its path",
            ) from None
