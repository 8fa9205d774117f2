"""What huggingface_hub, and the way to the Hub, say goes wrong: one message each, with the next step."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinoport.errors import HubError
from dinoport.files.byte_sources import unreadable
from dinoport.shown.address import shown_address

if TYPE_CHECKING:
    from dinoport.files.remote.repository import Repository


RUN_AGAIN = "run the same command again"

AGAIN = f"{RUN_AGAIN}: what has arrived is not sent twice"

LOGIN = "`hf auth login`, or set HF_TOKEN"

NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Packages whose errors are the network's; those of httpx are not OSErrors."""

ADDRESS = re.compile(r"https?://[^\s'\"<>)]+")

MAX_TOLD_CHARACTERS = 300


def told(repository: Repository, error: Exception, revision: str | None = None) -> HubError | None:
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
            next_step=f"look at the name; for a private repository {LOGIN}",
        )
    if isinstance(error, errors.LocalTokenNotFoundError) or (status == 401 and not repository.has_token):
        return HubError(
            f"the Hub does not know who asks for {name}",
            expected=f"a token that may {_verb(repository)}",
            found="none: HF_TOKEN is set, and empty" if os.environ.get("HF_TOKEN") == "" else "none",
            cause="a secret that is not set where this runs" if os.environ.get("HF_TOKEN") == "" else None,
            next_step=LOGIN,
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
        said = _said(error)
        return HubError(
            f"the Hub cannot be reached for {name}",
            found=f"{type(error).__name__}: {said}" if said else type(error).__name__,
            cause="the network",
            next_step=_again(repository),
        )
    return None


def conflicting(repository: Repository) -> HubError:
    """What is said where the Hub neither makes a repository nor has it."""
    return HubError(
        f"the Hub does not make {repository.name}, and has no such repository",
        found="HTTP status 409, a conflict",
        cause="another command makes it at this moment, or the name was another repository's once",
        next_step=f"{_again(repository)}; if it stays, make the repository on the Hub's own page first",
    )


def _refused(repository: Repository, status: int, response: Any, said: str) -> HubError:
    name, found = repository.name, f"HTTP status {status}: {said}" if said else f"HTTP status {status}"
    if status == 401:
        return HubError(
            f"the Hub does not take the token for {name}",
            found=found,
            cause="a token that was revoked, or is of another Hub",
            next_step=LOGIN,
        )
    if status == 403:
        proposes = "; for somebody else's repository `create_pr` proposes it" if repository.sends else ""
        return HubError(
            f"the token may not {_verb(repository)} {'to ' if repository.sends else ''}{name}",
            found=found,
            cause="a token that only reads, or somebody else's repository" if repository.sends else None,
            next_step=f"use a token that may {_verb(repository)}{proposes}",
        )
    if status in (409, 412):
        return HubError(
            f"{name} changed meanwhile" + (", and nothing was published" if repository.sends else ""),
            found=found,
            cause="another commit at the same moment",
            next_step=_again(repository),
        )
    if status == 429:
        headers: Mapping[str, str] = getattr(response, "headers", {})
        wait = headers.get("Retry-After", "")
        wait = f"{wait} seconds" if wait.isdigit() else "five minutes"
        return HubError(
            f"the Hub takes no more requests for {name} now",
            found=found,
            next_step=f"wait {wait}, then {_again(repository)}",
        )
    cause, next_step = _why(repository, status)
    return HubError(f"the Hub refuses what {name} needs", found=found, cause=cause, next_step=next_step)


def _why(repository: Repository, status: int) -> tuple[str, str | tuple[str, ...]]:
    """The likely cause of any other status, and the next step: to run again helps where the Hub itself stumbles."""
    if status >= 500:
        return "the Hub itself, for now", f"{_again(repository)}; https://status.huggingface.co says how the Hub is"
    if status == 402:
        return "the storage of this account is full, or not paid for", "look at https://huggingface.co/settings/billing"
    if status in (404, 410):
        moved = f"{repository.name} was moved or removed meanwhile, or HF_ENDPOINT names something else than a Hub"
        return moved, f"look at {repository.page}"
    if status == 413:
        return "a file that is larger than the Hub takes", "convert again with `max_shard_bytes`, for smaller files"
    return "a request that the Hub does not take from this version of huggingface_hub", (
        "pip install --upgrade huggingface_hub",
        "then run again; if it stays, report it with this message",
    )


def _again(repository: Repository) -> str:
    return AGAIN if repository.sends else RUN_AGAIN


def _verb(repository: Repository) -> str:
    return "write" if repository.sends else "read"


def _said(error: Exception) -> str:
    """What was said, without what is secret in an address."""
    text = " ".join(str(getattr(error, "server_message", None) or error).split())
    return ADDRESS.sub(lambda found: shown_address(found[0]), text)[:MAX_TOLD_CHARACTERS]
