"""A folder of a repository on the Hub: what is listed there, and its files on this machine while they are looked at."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dinoport.errors import PARTS, CheckpointError, DinoportError, UsageError
from dinoport.files.json_text import parse_object
from dinoport.files.remote.caches import own_cache
from dinoport.files.remote.fetching import Fetching
from dinoport.files.remote.folder import RemoteFolder
from dinoport.files.remote.hub import HubFile, hub_file
from dinoport.files.remote.repository import ListedFile, Repository
from dinoport.formats.transformers_folder import MAX_JSON_BYTES, REPORT
from dinoport.progress import Progress
from dinoport.report.report import Report
from dinoport.request import Checks, Request
from dinoport.shown.text import python_text
from dinoport.work.folder import OWN_NAMES, entries_of, is_file_name, is_weights
from dinoport.work.verify import verify_place


@dataclass(frozen=True)
class HubFolder:
    """A folder at one commit. `within` is all that the Hub lists below it, by its path from there."""

    place: HubFile
    commit: str
    within: Mapping[str, ListedFile]
    remote: RemoteFolder

    @property
    def files(self) -> dict[str, ListedFile]:
        """The files in the folder itself."""
        return {name: file for name, file in self.within.items() if is_file_name(name)}

    @property
    def where(self) -> str:
        return self.place.shown.rstrip("/")

    def report(self) -> tuple[bytes, dict[str, object]] | None:
        """The folder's dinoport.json as it lies there, and what it says; None where there is none, or nothing in it."""
        text = self.remote.read(REPORT, MAX_JSON_BYTES) if REPORT in self.files else None
        try:
            return (text, parse_object(text)) if text is not None else None
        except ValueError:
            return None


def hub_folder(address: str, on_progress: Progress) -> HubFolder:
    """Look up which commit an address means, and what is listed there.

    Raises UsageError for what is not a repository of models, HubError for what the Hub refuses.
    """
    try:
        place = hub_file(address)
    except CheckpointError as error:  # of a source; here the command line is wrong
        raise UsageError(error.what, **error.parts) from None
    if place is None or place.kind is not None:
        raise UsageError(
            f"{address} is not a repository of models",
            expected="hf://owner/name, or hf://owner/name@revision",
            next_step="give the address of the repository that the folder was published as",
        )
    if not place.is_folder:
        place = place.folder(f"{place.path}/")
    repository = Repository(place.repo)
    commit = place.revision if place.is_pinned else repository.head(place.revision).commit
    place = replace(place, revision=commit)
    listed = repository.files(str(commit))
    within = {name.removeprefix(place.path): file for name, file in listed.items() if name.startswith(place.path)}
    remote = RemoteFolder(f"{place.shown.rstrip('/')}/", Fetching(place.repo, on_progress))
    return HubFolder(place, str(commit), within, remote)


@contextmanager
def on_disk(folder: HubFolder) -> Iterator[Path]:
    """Yield a folder with the same files, which is gone afterwards; of a file that nothing reads, its name alone.

    Raises CheckpointError for a full disk, and for a server that refuses.
    """
    found = folder.report()
    listed = {entry["name"] for entry in entries_of(found[1]) if entry} if found else set()
    wanted = [name for name in folder.files if name in OWN_NAMES | listed or (not found and is_weights(name))]
    size_bytes = sum(folder.files[name].size_bytes for name in wanted)
    own_cache().mkdir(parents=True, exist_ok=True)
    if size_bytes > (free := shutil.disk_usage(own_cache()).free):
        raise CheckpointError(
            f"{own_cache()} has no room for {folder.where}",
            expected=f"{size_bytes} bytes free, until it is verified",
            found=f"{free}",
            next_step="free some space, or set DINOPORT_CACHE to a folder on a larger disk",
        )
    with tempfile.TemporaryDirectory(dir=own_cache(), prefix="folder-") as name:
        copy = Path(name)
        for each in folder.files:
            if each in wanted:
                _fetch(folder, each, copy / each)
            else:
                (copy / each).touch()
        with _called(copy, folder.where):
            yield copy


def _fetch(folder: HubFolder, name: str, path: Path) -> None:
    """A large file by ranges; the Hub sends a small one whole, from a cache that gives none."""
    if folder.files[name].sha256 is not None:
        folder.remote.save(name, path, folder.files[name].size_bytes)
    else:
        path.write_bytes(folder.remote.read(name, MAX_JSON_BYTES) or b"")


def verify_at_hub(
    source: str | Path, address: str, request: Request | None, checks: Checks, on_progress: Progress
) -> Report:
    """Prove a folder of a repository against its source, at one commit: its files are fetched, and proven here."""
    folder = hub_folder(address, on_progress)
    with on_disk(folder) as copy:
        return _called_so(verify_place(source, copy, request, checks, on_progress), copy, folder)


@contextmanager
def _called(copy: Path, where: str) -> Iterator[None]:
    """Let errors name the folder by its address, not by its copy."""
    try:
        yield
    except DinoportError as error:
        for part in ("what", *PARTS):
            text = getattr(error, part)
            if isinstance(text, str):
                setattr(error, part, text.replace(str(copy), where))
        raise


def _called_so(report: Report, copy: Path, folder: HubFolder) -> Report:
    """A report of a copy, as one of the folder at its address."""

    def named(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text.replace(str(copy), folder.where) for text in texts)

    verdict = report.verdict
    usage = tuple(line.replace(python_text(str(copy)), python_text(folder.place.repo)) for line in report.usage)
    return replace(
        report,
        verdict=replace(verdict, failures=named(verdict.failures), warnings=named(verdict.warnings)),
        target=folder.where,
        remarks=named(report.remarks),
        command=named((report.command,))[0],
        usage=named(usage),
    )
