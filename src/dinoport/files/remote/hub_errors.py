"""What huggingface_hub, and the way to the Hub, say goes wrong: one message each, with the next step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dinoport.errors import HubError
from dinoport.files.byte_sources import unreadable


class Asked(Protocol):
    """The repository that was asked for."""

    name: str

    @property
    def page(self) -> str: ...
    @property
    def has_token(self) -> bool: ...


AGAIN = "run the same command again: what has arrived is not sent twice"

NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Packages whose errors are the network's; those of httpx are no OSErrors."""


def told(repository: Asked, error: Exception, revision: str | None = None) -> HubError | None:
    """An error of huggingface_hub in words of ours; None for one that is a fault of somebody else."""
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of a file that did not arrive
    status = getattr(getattr(error, "response", None), "status_code", None)
    name = repository.name
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{name} is gated", next_step=f"accept its terms at {repository.page}, then run again")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{name} has no revision {revision}", next_step=f"look at {repository.page}/tree/main")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"{name} does not exist, or is private and not open to you",
            next_step="look at the name; for a private repository `hf auth login`, or set HF_TOKEN",
        )
    if isinstance(error, errors.LocalTokenNotFoundError) or (status == 401 and not repository.has_token):
        return HubError(
            f"the Hub does not know who asks for {name}",
            expected="a token that may write",
            found="none",
            next_step="`hf auth login`, or set HF_TOKEN",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return HubError(unreadable(Path(str(error.filename)), error).what, next_step="look at the folder")
    if status is not None:
        return _refused(repository, int(status), getattr(error, "response", None), _said(error))
    if isinstance(error, ValueError):
        return HubError(
            f"the Hub refuses the card of {name}",
            found=_said(error),
            cause="a field of README.md that the Hub does not take",
            next_step="mend the file that `card` names",
        )
    is_network = any(cls.__module__.partition(".")[0] in NETWORK for cls in type(error).__mro__)
    if is_network or isinstance(error, ConnectionError | TimeoutError):
        return HubError(
            f"the Hub cannot be reached for {name}", found=type(error).__name__, cause="the network", next_step=AGAIN
        )
    return None


def _refused(repository: Asked, status: int, response: Any, said: str) -> HubError:
    name, found = repository.name, f"HTTP status {status}: {said}" if said else f"HTTP status {status}"
    if status == 401:
        return HubError(
            f"the Hub does not take the token for {name}",
            found=found,
            cause="a token that was revoked, or is of another Hub",
            next_step="`hf auth login`, or set HF_TOKEN",
        )
    if status == 403:
        return HubError(
            f"the token may not write to {name}",
            found=found,
            cause="a token that only reads, or somebody else's repository",
            next_step="use a token that may write; for somebody else's repository `create_pr` proposes it",
        )
    if status in (409, 412):
        return HubError(
            f"{name} changed meanwhile, and nothing was published",
            found=found,
            cause="another commit at the same moment",
            next_step=AGAIN,
        )
    if status == 429:
        headers: Mapping[str, str] = getattr(response, "headers", {})
        wait = headers.get("Retry-After", "")
        next_step = f"wait {wait} seconds, then {AGAIN}" if wait.isdigit() else f"wait five minutes, then {AGAIN}"
        return HubError(f"the Hub takes no more requests for {name} now", found=found, next_step=next_step)
    return HubError(f"the Hub does not do what {name} needs", found=found, next_step=AGAIN)


def _said(error: Exception) -> str:
    """What the Hub itself said, without the address that was asked."""
    return " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
