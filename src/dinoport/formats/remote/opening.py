"""Open what is at an address, and its run's config, without downloading it where the server allows that."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath

from dinoport.errors import CheckpointError
from dinoport.files.address import Address
from dinoport.files.byte_sources import ByteSource, LocalFile, closed_on_error
from dinoport.files.remote.caches import own_cache
from dinoport.files.remote.download import download
from dinoport.files.remote.fetching import Fetching
from dinoport.files.remote.filesystem import FilesystemRanges
from dinoport.files.remote.folder import RemoteFolder
from dinoport.files.remote.http import RefusedError, Validators, refuse_offline
from dinoport.files.remote.http_ranges import HttpRanges, NoRangesError
from dinoport.files.remote.hub import HubFile, hub_file
from dinoport.files.remote.patience import Budget
from dinoport.files.remote.remote_file import RemoteFile
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.reader import read_distributed
from dinoport.formats.distributed.signs import METADATA
from dinoport.formats.opening import open_checkpoint, open_file
from dinoport.formats.run_config import MAX_BYTES, NAME, RunConfig, parse_run_config, run_places
from dinoport.formats.safetensors.reader import looks_like_safetensors
from dinoport.formats.single_file import START_BYTES, read_file
from dinoport.formats.transformers_folder import (
    CONFIG,
    MAX_JSON_BYTES,
    WEIGHTS,
    is_transformers_folder,
    read_transformers_folder,
)
from dinoport.progress import Progress, silent
from dinoport.shown.address import scheme_of, shown_address


def open_remote(source: str, on_progress: Progress = silent, *, fresh: bool = False) -> Checkpoint:
    """Open the checkpoint at an address of any scheme; the caller closes it. Raises CheckpointError.

    Only what is read is fetched. A repository of the Hub, and an address that ends in a slash, is a folder: of
    Transformers, or a distributed checkpoint. From a server that does not give out ranges a file is downloaded whole
    into the cache, and a remark says so; what an earlier run left there will not do where it has to be `fresh`, as a
    published file has, which has no training run beside it either.
    """
    fetching = Fetching(shown_address(source).removesuffix("?…").rstrip("/").rpartition("/")[2], on_progress)
    file = hub_file(source)
    if file.is_folder if file else source.partition("?")[0].endswith("/"):
        return _open_folder(RemoteFolder(source, fetching), source)
    if file is not None and (cached := file.cached()):
        return open_checkpoint(cached)
    checkpoint = _with_doubts(_open_file(source, file, fetching, on_progress, fresh=fresh))
    return checkpoint if fresh else replace(checkpoint, run=find_run_config(source))


def _open_file(
    source: str, file: HubFile | None, fetching: Fetching, on_progress: Progress, *, fresh: bool
) -> Checkpoint:
    if file is None and scheme_of(source) not in ("http", "https"):
        return open_file(RemoteFile(FilesystemRanges(source), fetching=fetching))
    address = file.address() if file else Address.of(source)
    try:
        ranges = HttpRanges(address)
    except NoRangesError as error:
        return _open_whole(address, error.validators, on_progress, fresh=fresh)
    return open_file(RemoteFile(ranges, ranges.beginning, fetching))


def _open_folder(folder: RemoteFolder, source: str) -> Checkpoint:
    with closed_on_error(folder.close):
        if _is_transformers_folder(folder):
            found = read_transformers_folder(folder)
        else:
            found = replace(_read_distributed(folder), run=find_run_config(source))
        found = _with_doubts(found)
    if folder.commit is None or folder.commit in source:
        return found
    return replace(found, remarks=(*found.remarks, f"{folder.where} was read at its commit {folder.commit}"))


def _is_transformers_folder(folder: RemoteFolder) -> bool:
    try:
        return is_transformers_folder(folder)
    except RefusedError as error:  # a bucket that may not be listed refuses what is not there
        if _holds_metadata(folder):
            return False
        raise error from None


def _holds_metadata(folder: RemoteFolder) -> bool:
    try:
        return not folder.missing([METADATA])
    except RefusedError:
        return False


def _read_distributed(folder: RemoteFolder) -> Checkpoint:
    if not folder.missing([METADATA]):
        return read_distributed(folder)
    has_config = folder.read(CONFIG, MAX_JSON_BYTES) is not None
    if not has_config:
        refuse_offline(folder.where)
    raise CheckpointError(
        f"{folder.where} is not a folder that holds a checkpoint",
        expected=f"{CONFIG} with {WEIGHTS[0]}, or {METADATA} with .distcp files",
        found=f"{CONFIG}, and no weights" if has_config else "neither of the two",
        next_step=f"give the address of the checkpoint file: {folder.named('FILE')}",
    )


def _with_doubts(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, with a remark where a change of a file would not be noticed."""
    if all(source.tells_versions for source in checkpoint.sources if isinstance(source, RemoteFile)):
        return checkpoint
    doubt = "the server tells no versions of a file apart, so a change to as many bytes would not have been noticed"
    return replace(checkpoint, remarks=(*checkpoint.remarks, doubt))


def check_downloaded(part: Path, address: Address) -> None:
    """Raise CheckpointError where what came from an address is an error page, or anything else but a checkpoint."""
    with _wanted(part, address):
        open_checkpoint(part).close()


def check_beginning(part: Path, address: Address) -> None:
    """Raise CheckpointError where the first bytes that came are not those of a checkpoint."""
    with _wanted(part, address), closing(LocalFile(part)) as file:
        start = file.read(0, min(file.size_bytes, START_BYTES))
        if not (start.startswith((b"PK", b"\x80")) or looks_like_safetensors(start)):
            read_file(file)


@contextmanager
def _wanted(part: Path, address: Address) -> Iterator[None]:
    try:
        yield
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
        for left in (file, Path(f"{file}.part")):
            left.unlink(missing_ok=True)
    if not file.exists():
        try:
            download(
                address,
                file,
                check_downloaded,
                check_beginning=check_beginning,
                setting="DINOPORT_CACHE",
                on_progress=on_progress,
            )
        except BaseException:
            with suppress(OSError):
                folder.rmdir()  # where nothing is left in it
            raise
        note.write_text(json.dumps(asdict(offered)), encoding="utf-8")
    remark = f"the server gives no ranges, so the whole file was downloaded into {folder}"
    checkpoint = open_checkpoint(file)
    return replace(checkpoint, where=address.shown, remarks=(remark, *checkpoint.remarks))


def _name(address: Address) -> str:
    """What to call a file in the cache: what the address calls it, if that can be a file's name."""
    name = re.sub(r"[^\w.-]", "_", address.shown.removesuffix("?…").rpartition("/")[2])[-100:]
    return name if name.strip(".") else "file"


def _version(note: Path) -> Validators | None:
    with suppress(OSError, ValueError, TypeError):
        return Validators(**json.loads(note.read_text(encoding="utf-8")))
    return None


def find_run_config(source: str) -> RunConfig | None:
    """The config of the run that wrote the checkpoint at an address; None where there is none.

    It never stops a conversion: why one that may be there was not read is its `problem`. A query is taken for the
    signature of one file, which opens no other; that of a folder goes with each of its files.
    """
    problem: RunConfig | None = None
    for folder in _folders(source, Budget()):
        try:
            data = folder.read(NAME, MAX_BYTES)
        except CheckpointError as error:
            problem = problem or RunConfig(folder.named(NAME), {}, _why(error, folder.named(NAME)))
            if isinstance(error, RefusedError):
                continue
            break  # a server that fails is not asked for the next
        if data is not None and (found := parse_run_config(folder.named(NAME), data)):
            return found
    return problem


def _why(error: CheckpointError, where: str) -> str:
    """The reason that an error gives, without the name of the file."""
    reason = error.what.removeprefix(f"{where} could not be read: ")
    return reason if reason != error.what else error.found or error.what


def _folders(source: str, budget: Budget) -> Iterator[RemoteFolder]:
    address, _, query = source.partition("?")
    file = hub_file(source)
    if file is not None:
        for place in run_places(PurePosixPath(file.path), is_folder=file.is_folder):
            yield RemoteFolder(file.folder("" if place == PurePosixPath() else f"{place}/").shown, budget=budget)
    elif address.endswith("/") or not query:
        scheme, _, rest = address.partition("://")
        host, _, path = rest.partition("/")
        for place in run_places(PurePosixPath(path), is_folder=address.endswith("/")):
            before = f"{scheme}://{host}/" if place == PurePosixPath() else f"{scheme}://{host}/{place}/"
            yield RemoteFolder(f"{before}?{query}" if query else before, budget=budget)


@contextmanager
def on_disk(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield a folder with the checkpoint's files, which is gone afterwards. Raises CheckpointError for a full disk.

    It has what Transformers loads a model from: config.json, the weights, and their index.
    """
    with ExitStack() as files:
        try:
            own_cache().mkdir(parents=True, exist_ok=True)
            folder = Path(files.enter_context(tempfile.TemporaryDirectory(dir=own_cache(), prefix="folder-")))
            free = shutil.disk_usage(own_cache()).free
            if checkpoint.size_bytes > free:
                raise OSError(f"{checkpoint.size_bytes} bytes are needed, {free} are free")
            for name, file in checkpoint.files.items():
                _write(folder / name, file)
        except OSError as error:
            raise CheckpointError(
                f"{own_cache()} cannot hold a copy of {checkpoint.where}: {error.strerror or error}",
                cause="Transformers, which the proof of the outputs runs, loads from disk alone",
                next_step="set DINOPORT_CACHE to a folder on a larger disk, or convert with `level='exact'`",
            ) from error
        yield folder


def _write(path: Path, content: bytes | ByteSource) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    with path.open("xb") as file:
        for block in content.blocks(0, content.size_bytes):
            file.write(block)
