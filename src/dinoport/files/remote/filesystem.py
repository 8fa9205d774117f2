"""Files in a store that fsspec knows (`s3://`, `gs://`, `az://` …), through the user's own package and login."""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from dinoport.errors import CheckpointError, MissingPackageError
from dinoport.files.address import check_sound
from dinoport.files.remote.client import within
from dinoport.files.remote.http import RefusedError, refuse_offline
from dinoport.files.remote.patience import WAITS_SECONDS, WAITS_WHEN_SLOW, Budget, Patience
from dinoport.shown.address import scheme_of, shown_address
from dinoport.shown.packages import installing, missing

STORES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": "fsspec",
}
"""The schemes that are handed to fsspec, of stores that hold files and nothing else, with the package that serves each.
fsspec knows others that unpack, look things up in an index, open other addresses or run programs: a SOURCE has no need
of those."""

READ_BYTES = 1024 * 1024
"""What one call of the store reads."""

STORE_SECONDS = 60.0
"""For one call of a store: its package bounds, at best, each read of its own."""

VERSION_FIELDS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created", "size")
"""By which stores tell one version of a file from the next; each has some of them."""


class FilesystemRanges:
    """A file in a store, as ranges."""

    def __init__(self, url: str, budget: Budget | None = None) -> None:
        """Raises MissingPackageError where the store's package is missing, CheckpointError where it refuses."""
        self.where = shown_address(url)
        _check_scheme(url)
        refuse_offline(self.where)
        self._budget = budget or Budget()
        self._filesystem, self._path = _filesystem(url)
        self._version = self._info()
        self.size_bytes = self._version.get("size") or 0
        if not isinstance(self.size_bytes, int) or self.size_bytes < 0:
            raise CheckpointError(f"{self.where} has no size", found=f"{self.size_bytes!r}, as the store says")
        self.tells_versions = any(value for name, value in self._version.items() if name != "size")

    def stream(self, start: int, stop: int) -> Iterator[bytes]:
        patience = Patience(self.where, self._budget)
        read = self._filesystem.cat_file
        while start < stop:
            end = min(start + READ_BYTES, stop)
            try:
                data: bytes = within(STORE_SECONDS, partial(read, self._path, start=start, end=end))
            except Exception as error:  # each store raises what its own package has
                slow = isinstance(error, TimeoutError)
                patience.failed(_reason(error), WAITS_WHEN_SLOW if slow else len(WAITS_SECONDS))
                continue
            if not 0 < len(data) <= end - start:
                raise self._changed(f"{len(data)} bytes where {end - start} were asked for")
            yield data
            start += len(data)
            patience.progressed(len(data))
            if start < end:
                patience.failed(f"the store gives {len(data)} bytes where {len(data) + end - start} were asked for")

    def check_unchanged(self) -> None:
        """Raise CheckpointError if the store describes the file differently now."""
        self._filesystem.invalidate_cache()
        now = self._info()
        for name, value in self._version.items():
            if now.get(name) != value:
                raise self._changed(f"{name} is {now.get(name)}, and was {value}")

    def _info(self) -> Mapping[str, Any]:
        try:
            info = within(STORE_SECONDS, lambda: self._filesystem.info(self._path))
        except Exception as error:
            raise _unreadable(self.where, error) from None
        if info.get("type") == "directory":
            raise CheckpointError(f"{self.where} is a folder", next_step="give the checkpoint file inside it")
        return {name: info[name] for name in VERSION_FIELDS if name in info}

    def _changed(self, found: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where} changed while it was read",
            found=found,
            cause="a training run or an upload is still writing it",
            next_step="wait until it is complete, or download it and give its path",
        )


def listed_in(url: str) -> list[str]:
    """The addresses of all files below a folder of a store. Raises as FilesystemRanges does."""
    _check_scheme(url)
    refuse_offline(shown_address(url))
    filesystem, path = _filesystem(url)
    try:
        found = within(STORE_SECONDS, lambda: filesystem.find(path))
    except Exception as error:
        raise _unreadable(shown_address(url), error) from None
    scheme = url.partition("://")[0]
    return [f"{scheme}://{name.lstrip('/')}" for name in found]


def _check_scheme(url: str) -> None:
    check_sound(url)
    scheme = scheme_of(url)
    if scheme in ("file", "local") and "::" not in url:
        raise CheckpointError(
            f"{shown_address(url)} is a path that is written like an address",
            next_step="leave the scheme out, and give the path itself",
        )
    if scheme not in STORES or "::" in url:
        chain = "a chain of addresses, of which fsspec would open each" if "::" in url else None
        raise CheckpointError(
            f"{shown_address(url)} is an address of a kind that is not read",
            expected="https://, http://, hf://, s3://, gs:// or az://",
            found=chain,
            next_step="check the address, or download the file and give its path",
        )


def _filesystem(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0].lower()
    if absent := missing(*dict.fromkeys(("fsspec", STORES[scheme]))):
        raise MissingPackageError(
            f"{scheme}:// needs {' and '.join(absent)}, which {'are' if len(absent) > 1 else 'is'} not installed",
            next_step=installing(absent),
        )
    try:
        from fsspec.core import url_to_fs

        filesystem, path = within(STORE_SECONDS, lambda: url_to_fs(url))
    except ImportError as error:
        raise MissingPackageError(
            f"{scheme}:// cannot be opened: a package that {STORES[scheme]} needs is missing ({error.name})",
            next_step=installing(("fsspec", STORES[scheme]), "--upgrade"),
        ) from None
    except Exception as error:  # such as a login that is missing
        raise _unreadable(shown_address(url), error) from None
    return filesystem, str(path)


def _unreadable(where: str, error: Exception) -> CheckpointError:
    what = f"{where} could not be read: {_reason(error)}"
    next_step = "check the address, and that you are logged in to the store"
    if isinstance(error, FileNotFoundError):
        return RefusedError(what, 404, next_step=next_step)
    return CheckpointError(what, next_step=next_step)


def _reason(error: Exception) -> str:
    """Why, in words of our own: a store's message may hold an address with its signature, or a key."""
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, TimeoutError):
        return f"it took more than {STORE_SECONDS:.0f} seconds"
    if isinstance(error, PermissionError):
        return "the store refuses"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return f"its package raised {type(error).__name__}"
