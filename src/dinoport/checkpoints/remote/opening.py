"""Open what is at an address, without downloading it where the server allows that."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from dinoport.address import Address, scheme_of, shown
from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.checkpoints.distributed import read_distributed
from dinoport.checkpoints.opening import open_bytes, open_checkpoint
from dinoport.checkpoints.remote.caches import own_cache
from dinoport.checkpoints.remote.download import download
from dinoport.checkpoints.remote.fetching import Fetching
from dinoport.checkpoints.remote.filesystem import FilesystemRanges
from dinoport.checkpoints.remote.folder import RemoteFolder
from dinoport.checkpoints.remote.http import Validators
from dinoport.checkpoints.remote.http_ranges import HttpRanges, NoRangesError
from dinoport.checkpoints.remote.hub import hub_file
from dinoport.checkpoints.remote.remote_file import RemoteFile
from dinoport.errors import CheckpointError
from dinoport.progress import Progress, silent


def open_remote(source: str, on_progress: Progress = silent, *, fresh: bool = False) -> Checkpoint:
    """Open the checkpoint at an address of any scheme; the caller closes it. Raises CheckpointError.

    Only what is read is fetched. An address that ends in a slash is a folder, a distributed checkpoint. From a server
    that does not give out ranges a file is downloaded whole into the cache, and a remark says so; what an earlier run
    left there will not do where it has to be `fresh`.
    """
    fetching = Fetching(shown(source).removesuffix("?…").rstrip("/").rpartition("/")[2], on_progress)
    if source.partition("?")[0].endswith("/"):
        return _open_folder(RemoteFolder(source, fetching))
    scheme, file = scheme_of(source), hub_file(source)
    if file is not None and (cached := file.cached()):
        return open_checkpoint(cached)
    if file is None and scheme not in ("http", "https"):
        return open_bytes(RemoteFile(FilesystemRanges(source), fetching=fetching))
    address = file.address() if file else Address.of(source)
    try:
        ranges = HttpRanges(address)
    except NoRangesError as error:
        return _open_whole(address, error.validators, on_progress, fresh=fresh)
    return open_bytes(RemoteFile(ranges, ranges.beginning, fetching))


def _open_folder(folder: RemoteFolder) -> Checkpoint:
    try:
        return read_distributed(folder)
    except BaseException:
        folder.close()
        raise


def check_downloaded(part: Path, address: Address) -> None:
    """Raise CheckpointError where what came from an address is an error page, or anything else but a checkpoint."""
    try:
        open_checkpoint(part).close()
    except CheckpointError as error:
        raise CheckpointError(
            f"{address.shown} did not give a checkpoint, and what came was not kept",
            expected="a torch file, or a safetensors file",
            found=error.found or error.what.replace(str(part), "a file"),
            cause="an error page of the server, or of a proxy on the way to it",
            next_step="open the address in a browser",
        ) from error


def _open_whole(address: Address, offered: Validators, on_progress: Progress, *, fresh: bool) -> Checkpoint:
    name = _name(address)
    folder = own_cache() / "downloads" / hashlib.sha256(address.url.encode()).hexdigest()[:16]
    file, note = folder / name, folder / f"{name}.json"
    if fresh or _version(note) != offered or offered.strong is None:
        file.unlink(missing_ok=True)
    if not file.exists():
        download(address, file, check_downloaded, setting="DINOPORT_CACHE", on_progress=on_progress)
        note.write_text(json.dumps(asdict(offered)), encoding="utf-8")
    remark = f"the server gives no ranges, so the whole file was downloaded into {folder}"
    return replace(open_checkpoint(file), where=address.shown, remarks=(remark,))


def _name(address: Address) -> str:
    """What to call a file in the cache: what the address calls it, if that can be a file's name."""
    name = re.sub(r"[^\w.-]", "_", address.shown.removesuffix("?…").rpartition("/")[2])[-100:]
    return name if name.strip(".") else "file"


def _version(note: Path) -> Validators | None:
    with suppress(OSError, ValueError, TypeError):
        return Validators(**json.loads(note.read_text(encoding="utf-8")))
    return None
