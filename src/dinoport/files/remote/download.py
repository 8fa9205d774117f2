"""A whole file into a cache: continued after a break, checked, and under its name only when it is complete.

What has come lies in `NAME.part`, and in `NAME.part.json` beside it what the server called that version of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypeAlias

from dinoport.errors import CheckpointError
from dinoport.files.address import Address
from dinoport.files.remote.client import BrokenConnectionError, Response
from dinoport.files.remote.http import Validators, ask, content_length, content_range
from dinoport.files.remote.patience import Patience
from dinoport.progress import Progress, silent, stage_of
from dinoport.tensor import size_text

WAITING = "waiting for another download of this file"

BEGINNING_BYTES = 4096
"""After these the beginning is checked, so that an endless answer of something else is left at once."""

MAX_UNSAID_BYTES = 8 * 10**9
"""Of a file whose length the server does not say. Of all published models only the 7B ones are larger."""

KEPT = "; what has come so far is kept, and continued"

BROKE_OFF = "the connection broke off"


def download(
    address: Address,
    target: Path,
    check: Check,
    *,
    check_beginning: Check | None = None,
    sha256_prefix: str | None = None,
    setting: str = "TORCH_HOME",
    on_progress: Progress = silent,
) -> bool:
    """Fetch `address` to `target`, unless another run has done so meanwhile; whether this one did, from its first byte.

    `check` is called with the complete file and its address before it gets its name, and raises where that is not what
    was wanted; `check_beginning` with the first bytes of it, once. `setting` is the environment variable that says
    which disk is written to.
    Raises CheckpointError for a server or a disk that refuses, and for a file with another hash.
    """
    with _disk(target, setting):
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target, lambda: on_progress(WAITING, 0, 0)):
            if target.exists():
                return False
            part = _Part(address, target, setting, check_beginning, trusts_hash=sha256_prefix is not None)
            stage = stage_of("downloading", target.name)
            digest = part.fetch(lambda done, total: on_progress(stage, done, total))
            try:
                if sha256_prefix and not digest.startswith(sha256_prefix):
                    raise wrong_hash(address.shown, sha256_prefix, digest)
                check(part.path, address)
            except BaseException:
                part.discard()
                raise
            part.path.replace(target)
            part.discard()
            return not part.continued


def wrong_hash(where: str, expected: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is not the file that was published under this name",
        expected=f"a SHA-256 that begins with {expected}",
        found=found[: len(expected)],
        cause="a damaged download, or a file that someone put in its place",
        next_step="delete it, and fetch it again",
    )


Check: TypeAlias = Callable[[Path, Address], None]

OnBytes: TypeAlias = Callable[[int, int], None]
"""Called with the bytes done, and the bytes in all; 0 where that is not known."""


class _Part:
    """What has come of a file. With a hash to hold it against, it is continued whatever the server calls it."""

    def __init__(
        self, address: Address, target: Path, setting: str, check_beginning: Check | None, *, trusts_hash: bool
    ) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._address, self._setting, self._trusts_hash = address, setting, trusts_hash
        self._check_beginning = check_beginning
        self._digest = hashlib.sha256()
        self._done = 0
        self._refused = self.continued = False
        self._version = Validators(None, None, None)

    def fetch(self, on_bytes: OnBytes) -> str:
        """Fetch what is missing, and return the SHA-256 of the whole. What no later run could continue is not kept."""
        patience = Patience(self._address.shown)
        try:
            with self.path.open("ab+") as file:
                self._recall(file)
                while not (self._done and self._done == self._version.size_bytes):
                    if self._fetch_more(file, patience, on_bytes):
                        break
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            if not self._can_go_on:
                self.discard()
            raise
        return self._digest.hexdigest()

    @property
    def _can_go_on(self) -> bool:
        return bool(self._version.strong or self._trusts_hash) and not self._refused

    def discard(self) -> None:
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)

    def _fetch_more(self, file: IO[bytes], patience: Patience, on_bytes: OnBytes) -> bool:
        """Make one request and keep what comes; whether the file is complete."""
        with ask(self._address, self._headers(), patience) as response:
            if response.status == 200:
                self._restart(file)
                self._remember(Validators.of(response.headers, content_length(response)))
            elif not self._goes_on(response):
                self._restart(file)
                patience.failed(f"the server answers {response.status}, and not with the rest of the file")
                return False
            total = self._version.size_bytes
            self._check_space(total)
            patience.next_step = f"try again later{KEPT if self._can_go_on else ''}"
            try:
                for chunk in response.chunks():
                    self._keep(file, chunk if total is None else chunk[: total - self._done])
                    patience.progressed(len(chunk))
                    self._check_end(total)
                    on_bytes(self._done, total or 0)
                    if self._done == total:
                        break  # whatever else a server sends
            except BrokenConnectionError as error:
                patience.broke(error)
                return False
        if total is not None and self._done < total:
            patience.failed(BROKE_OFF)
            return False
        return True

    def _headers(self) -> dict[str, str]:
        if not self._done or not self._can_go_on:
            return {}
        headers = {"range": f"bytes={self._done}-"}
        return headers | ({"if-range": self._version.strong} if self._version.strong else {})

    def _goes_on(self, response: Response) -> bool:
        """Whether an answer is the rest of this version of the file."""
        start, total = content_range(response)
        found = Validators.of(response.headers, total)
        return response.status == 206 and start == self._done and not self._version.contradicts(found)

    def _keep(self, file: IO[bytes], chunk: bytes) -> None:
        before = self._done
        file.write(chunk)
        self._digest.update(chunk)
        self._done += len(chunk)
        if self._check_beginning and before < BEGINNING_BYTES <= self._done:
            file.flush()
            try:
                self._check_beginning(self.path, self._address)
            except CheckpointError:
                self._refused = True
                raise

    def _check_end(self, total: int | None) -> None:
        """Raise CheckpointError for a file without a said length that does not end."""
        if total is not None or self._done <= MAX_UNSAID_BYTES:
            return
        self._refused = True
        raise CheckpointError(
            f"{self._address.shown} does not end",
            expected=f"a length, or at most {size_text(MAX_UNSAID_BYTES)} where the server does not say one",
            found=f"{self._done} bytes, and more",
            cause="a server that makes up what it sends, or a stream",
            next_step="give the address of a server that says how long the file is",
        )

    def _restart(self, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        self._digest, self._done, self.continued = hashlib.sha256(), 0, False
        self._note.unlink(missing_ok=True)

    def _remember(self, version: Validators) -> None:
        self._version = version
        self._note.write_text(json.dumps({"address": self._address.shown, **asdict(version)}), encoding="utf-8")

    def _recall(self, file: IO[bytes]) -> None:
        """Go on with what an earlier run left, if it can be known to be of one version."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note.pop("address") == self._address.shown:
                self._version = Validators(**note)
        if self._version.strong or (self._trusts_hash and self._version.size_bytes):
            file.seek(0)
            while chunk := file.read(1024 * 1024):
                self._digest.update(chunk)
                self._done += len(chunk)
            self.continued = self._done > 0
            if self._done <= (self._version.size_bytes or self._done):
                return
        self._restart(file)
        self._version = Validators(None, None, None)

    def _check_space(self, total: int | None) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if total is not None and total - self._done > free:
            raise CheckpointError(
                f"{self.path.parent} has no room for {self._address.shown}",
                expected=f"{total - self._done} bytes free",
                found=f"{free}",
                next_step=f"free some space, or set {self._setting} to a folder on a larger disk",
            )


@contextmanager
def alone(target: Path, on_waiting: Callable[[], object]) -> Iterator[None]:
    """Held by the run that makes `target`; another waits for it, and then finds it there. No file is left of it."""
    from filelock import FileLock, Timeout  # 50 ms of imports, not for --help

    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_waiting()
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # while held; on Windows the system refuses, and filelock removes it
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def _disk(target: Path, setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{target.parent} cannot hold a download: {error.strerror or error}",
            where=str(target),
            next_step=f"set {setting} (or XDG_CACHE_HOME) to a folder that can be written to",
        ) from error
