"""What the stand-in for the Hub keeps: repositories with their commits and branches, and the bytes of their files.

All of it is on disk (`repos/*.json`, `objects/<oid>`), so a server may die, and the next goes on.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Fault:
    """What befalls the next `times` requests (-1: all) whose `METHOD /path?query` the pattern finds.

    `status` is answered, with `headers`; after `cut_upload` bytes of the request's body, or `cut_answer` bytes of the
    answer's, the connection breaks; with `lost` the request is carried out, `then` is called, and no answer comes.
    """

    match: str
    status: int = 0
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    cut_upload: int | None = None
    cut_answer: int | None = None
    lost: bool = False
    then: Callable[[], object] = lambda: None


class Refusal(Exception):  # noqa: N818  # an answer, not a fault
    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        said = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.status, self.body, self.headers = status, {"error": message}, {**said, **(headers or {})}


class Hub:
    """Repositories, each with `refs` (branches, tags, `refs/pr/N`), `commits` with all their files, and discussions."""

    def __init__(self, root: Path, *, xet: bool = False) -> None:
        self.root, self.xet, self.url, self.lock = Path(root), xet, "", threading.RLock()
        self.log: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        for name in ("repos", "objects", "cas"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str) -> Path:
        return self.root / "repos" / f"{name.replace('/', '--')}.json"

    def object(self, oid: str) -> Path:
        return self.root / "objects" / oid

    def save(self, repo: dict[str, Any]) -> None:
        working = self.file(repo["id"]).with_suffix(".tmp")
        working.write_text(json.dumps(repo))
        working.replace(working.with_suffix(".json"))

    def small(self, data: bytes) -> dict[str, Any]:
        """Keep a small file, as git names it."""
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        self.object(oid).write_bytes(data)
        return {"oid": oid, "size": len(data)}

    def large(self, sha256: str, size: int) -> dict[str, Any]:
        """A file that was uploaded before: git's name is that of its pointer, `lfs` has the file's own hash."""
        if not self.object(sha256).exists() and not self.xet:
            raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        lfs = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(text)}
        return {**self.small(text), "size": size, "lfs": lfs}

    def commit(self, repo: dict[str, Any], ref: str, parent: str | None, title: str, files: dict[str, Any]) -> str:
        text = json.dumps([parent, title, files, len(repo["commits"])], sort_keys=True)
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        repo["commits"][oid] = {"id": oid, "parent": parent, "title": title, "date": now(), "files": files}
        repo["refs"][ref] = oid
        self.save(repo)
        return oid


def at_revision(repo: dict[str, Any], revision: str) -> dict[str, Any]:
    """The commit that a branch, tag, pull request or the beginning of a hash means."""
    begins = [oid for oid in repo["commits"] if len(revision) > 6 and oid.startswith(revision)]
    if not (oid := repo["refs"].get(revision or "main") or next(iter(begins), None)):
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return dict(repo["commits"][oid])


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
