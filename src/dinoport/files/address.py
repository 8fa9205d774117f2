"""Where a remote file is, and what may be said of it: an address is never printed with its secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dinoport.errors import CheckpointError, UsageError
from dinoport.shown.address import is_address, shown_address

AS_A_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""The first part of a path that was an address before it lost one of its slashes."""


UNREADABLE = frozenset({*map(chr, range(0x20)), "\x7f", "\\"})


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
        return cls(url, shown_address(url))


def refuse_empty(name: str, value: str | Path) -> None:
    """Raise UsageError for an empty text, which as a path would be the current folder, and for `-`, a stream."""
    if not str(value):
        raise UsageError(
            f"{name} is empty",
            cause="a variable of the shell that is not set",
            next_step="give a path, such as my-model" if name == "FOLDER" else 'give a path; "." is the current folder',
        )
    if value == "-" and not Path(value).exists():
        raise UsageError(
            f"{name} is -, which stands for a stream",
            expected="a path: streams are neither read nor written",
            next_step="./- for a file or folder of this name",
        )


def typed(text: str) -> str:
    """What was typed for a path, as a path: without `file://`, and with a home folder for a `~` that no shell replaced.

    What exists under the name as it stands, and any other text, stays as it is. Raises CheckpointError for a `file://`
    address that is not sound.
    """
    if text[:7].lower() == "file://":
        rest = text[7:].removeprefix("localhost")
        if not rest.startswith("/"):
            return text
        check_sound(text)
        from urllib.request import url2pathname

        return url2pathname(rest)
    if text[:1] == "~" and not Path(text).exists():
        try:
            return str(Path(text).expanduser())
        except RuntimeError:  # a user whom this machine does not know
            return text
    return text


def local_folder(folder: str | Path) -> Path:
    """A folder that is written or proven.

    Raises UsageError for an empty text, and for an address, which would be a folder named `hf:`.
    """
    refuse_empty("FOLDER", folder)
    folder = typed(folder) if isinstance(folder, str) else folder
    path = Path(folder)
    first = path.parts[0] if path.parts else ""
    if is_address(folder) or (AS_A_PATH.fullmatch(first) and not Path(first).exists()):
        raise UsageError(
            f"{shown_address(re.sub(':/+', '://', str(folder), count=1))} is an address, and FOLDER is on this machine",
            expected="a path",
            next_step="give a folder here; only SOURCE may lie elsewhere",
        )
    return path


def check_sound(url: str) -> None:
    """Raise CheckpointError for an address that two programs may read as two: with steps in its path, for one."""
    path = unquote(url.partition("?")[0].partition("#")[0])
    steps = [part for part in re.split(r"[/\\]", path) if part.partition(";")[0] in (".", "..")]
    strange = [character for character in f"{url}{path}" if character in UNREADABLE]
    if steps or strange:
        raise CheckpointError(
            f"{shown_address(url)} is not a sound address",
            expected="no '.' or '..' between slashes, no backslash, no control character",
            found=repr((steps or strange)[0]),
            next_step="give the address that the file is really at",
        )


def is_inside(url: str) -> bool:
    """Whether a host is this machine, or in its own network: whether it has an address that is not open to all."""
    import socket  # which a local file does without

    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(urlsplit(url).hostname, None, type=socket.SOCK_STREAM)}
        hosts = [ip_address(str(host).partition("%")[0]) for host in found]
    except (OSError, ValueError):  # a name that only a proxy knows
        return False
    return any(not (getattr(host, "ipv4_mapped", None) or host).is_global for host in hosts)


def origin(url: str) -> tuple[str, str]:
    """Scheme and host with port: what a token is meant for. Raises ValueError for an address that is not sound."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
