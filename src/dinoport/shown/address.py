"""Addresses as they may be printed: a signed one is as good as a password."""

import re
from pathlib import Path

SCHEME = re.compile(r"((?:[A-Za-z0-9+._-]+::)*[A-Za-z][A-Za-z0-9+.-]+)://")
"""Two letters at least: `C://` is a disk. With `::` it is a chain of fsspec's, which is refused, and not a path."""


def scheme_of(source: str) -> str | None:
    """The scheme of a source that is an address: `https`, `hf`, `s3` …; None for a path or a name."""
    found = SCHEME.match(source)
    return found[1].lower() if found else None


def is_address(source: str | Path) -> bool:
    """Whether a source is at an address. A path never is: it has lost one of the two slashes."""
    return isinstance(source, str) and scheme_of(source) is not None


def is_at_hub(source: str | Path) -> bool:
    """Whether a source is in a repository of the Hub."""
    return isinstance(source, str) and scheme_of(source) == "hf"


def shown_address(url: str) -> str:
    """The address without user, password, query and fragment: a signed URL's query is as good as a password.

    Of a chain of addresses it is the first part alone. Unsound addresses are taken too.
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


def shown_source(source: str | Path) -> str:
    """A source as it may be printed."""
    return shown_address(str(source)) if is_address(source) else str(source)
