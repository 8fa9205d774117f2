"""Where a remote file is, and what may be said of it: an address is never printed with its secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dinoport.errors import UsageError

SCHEME = re.compile(r"((?:[A-Za-z0-9+._-]+::)*[A-Za-z][A-Za-z0-9+.-]+)://")
"""Two letters at least: `C://` is a disk. With `::` it is a chain of fsspec's, which is refused, and not a path."""

AS_A_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""The first part of a path that was an address before it lost one of its slashes."""


@dataclass(frozen=True)
class Address:
    """A URL to ask. `shown` is what messages call it; `headers` go to the URL's own host only.

    `advice` is what to do where the server refuses.
    """

    url: str = field(repr=False)
    shown: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    advice: str | None = None

    @classmethod
    def of(cls, url: str) -> Address:
        return cls(url, shown(url))


def scheme_of(source: str) -> str | None:
    """The scheme of a source that is an address: `https`, `hf`, `s3` …; None for a path or a name."""
    found = SCHEME.match(source)
    return found[1].lower() if found else None


def shown(url: str) -> str:
    """The address without user, password, query and fragment: a signed URL's query is as good as a password.

    It says something of what is no sound address too, and of a chain of addresses the first part alone.
    """
    scheme, is_whole, rest = url.partition("://")
    if not is_whole:
        return re.split("[?#]", url)[0]
    before, query, _ = rest.partition("#")[0].partition("?")
    host, slash, path = before.partition("/")
    host = host.rpartition("@")[2]
    if scheme.lower() not in ("http", "https") and "::" in url:
        return f"{scheme.partition('::')[0]}{'' if '::' in scheme else '://' + host.partition('::')[0]}::…"
    return f"{scheme.lower()}://{host}{slash}{path}" + ("?…" if query else "")


def is_address(source: str | Path) -> bool:
    """Whether a source is at an address. A path never is: it has lost one of the two slashes."""
    return isinstance(source, str) and scheme_of(source) is not None


def refuse_empty(name: str, value: str | Path) -> None:
    """Raise UsageError for an empty text, which as a path would be the current folder."""
    if not str(value):
        raise UsageError(
            f"{name} is empty",
            cause="a variable of the shell that is not set",
            next_step='give a path; "." is the current folder',
        )


def local_folder(folder: str | Path) -> Path:
    """A folder that is written or proven.

    Raises UsageError for an empty text, and for an address, which would be a folder named `hf:`.
    """
    refuse_empty("FOLDER", folder)
    path = Path(folder)
    first = path.parts[0] if path.parts else ""
    if is_address(folder) or (AS_A_PATH.fullmatch(first) and not Path(first).exists()):
        raise UsageError(
            f"{shown(re.sub(':/+', '://', str(folder), count=1))} is an address, and FOLDER is on this machine",
            expected="a path",
            next_step="give a folder here; only SOURCE may lie elsewhere",
        )
    return path


def shown_source(source: str | Path) -> str:
    """A source as it may be printed."""
    return shown(str(source)) if is_address(source) else str(source)


def origin(url: str) -> tuple[str, str]:
    """Scheme and host with port: what a token is meant for. Raises ValueError for an address that is not sound."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
