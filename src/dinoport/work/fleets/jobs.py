"""The jobs of a fleet: one checkpoint each, as plain data that any engine can carry to another machine."""

import codecs
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

from dinoport.codebases.transformers.labels import IMAGENET as IMAGENET_LABELS
from dinoport.errors import CheckpointError, HubError, UsageError
from dinoport.files.byte_sources import leads_nowhere
from dinoport.files.json_text import parse_object
from dinoport.files.names import is_name
from dinoport.finding.sources import FILE_ENDINGS, IMAGENET
from dinoport.formats.opening import holds_one_checkpoint
from dinoport.formats.run_folder import also_within, checkpoints_within, iterations
from dinoport.request import FILES, Checks, Request
from dinoport.shown.address import is_address, scheme_of, shown_source
from dinoport.shown.calls import AND_SO_ON, OUT, SOURCE, call, runnable
from dinoport.shown.text import as_word, value_text
from dinoport.work.fleets.results import LOG, PAGE
from dinoport.work.fleets.target_names import target_names
from dinoport.work.refusals import refuse_together

OWN_FIELDS = ("source", "target", "verify")

MAX_MANIFEST_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Job:
    """One conversion. `source` is a path or an address, `target` the name of a folder in the fleet's own."""

    source: str
    target: str
    request: Request = Request()  # noqa: RUF009  # frozen
    level: str = "full"

    def to_plain(self, out: Path) -> dict[str, Any]:
        """What a worker is given: numbers, texts, lists and dictionaries."""
        asked = {field.name: getattr(self.request, field.name) for field in fields(Request)}
        request = {
            name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for name, value in asked.items()
            if value != getattr(Request, name)
        }
        named = [Path(self.source), *(Path(str(request[name])) for name in FILES if name in request)]
        return {
            "source": self.source,
            "target": self.target,
            "folder": str((out / self.target).absolute()),
            "request": request,
            "level": self.level,
            "cwd": str(Path.cwd()) if any(path.exists() and not path.is_absolute() for path in named) else None,
        }


class Manifest(list[dict[str, Any] | None]):
    """The lines of a file, which messages name. None is a blank one."""

    def __init__(self, entries: Iterable[dict[str, Any] | None], path: Path) -> None:
        super().__init__(entries)
        self.path = path


def jobs_of(given: Iterable[str | Path | Mapping[str, Any] | None], defaults: Request, level: str) -> list[Job]:
    """A job for each source, or entry: its `source`, and if it likes `target`, `verify` and fields of Request.

    None stands for a blank line, which counts as one. Raises UsageError, which names the first wrong one.
    """
    if isinstance(given, str | Path | Mapping):
        raise UsageError(
            "`jobs` takes several checkpoints",
            expected="a list of sources, or of entries with a `source`",
            found=f"one {type(given).__name__}",
            next_step=call("fleet", [str(given)], OUT) if not isinstance(given, Mapping) else "put it in a list",
        )
    named, place = list(given), f" of {given.path}" if isinstance(given, Manifest) else ""
    is_manifest = any(isinstance(each, Mapping) for each in named)
    entries = [{"source": str(each)} if isinstance(each, str | Path) else each for each in named]
    if not is_manifest:  # a checkpoint that is named twice, in whatever spelling, is one job
        entries = list({_place_of(str(entry["source"])): entry for entry in entries if entry}.values())
    if not any(entry is not None for entry in entries):
        raise UsageError(
            "no checkpoint is named",
            expected="files, patterns such as runs/*/checkpoint.pth, a run's folder, or `manifest`",
            next_step=runnable("fleet", [SOURCE, AND_SO_ON], OUT),
        )
    lines = [(number, entry) for number, entry in enumerate(entries, 1) if entry is not None]
    numbers = [number for number, _ in lines]
    jobs = [_job(entry, defaults, level, f"line {number}{place}") for number, entry in lines]
    names = iter(target_names([job.source for job in jobs if not job.target]))
    jobs = [job if job.target else replace(job, target=next(names)) for job in jobs]
    first: dict[str, tuple[int, Job]] = {}
    for number, job in zip(numbers, jobs, strict=True):
        before, other = first.setdefault(job.target.lower(), (number, job))
        if other is not job:
            raise UsageError(
                f"{'lines' if is_manifest else 'sources'} {before} and {number}{place} have one target: {job.target}",
                found=f"{shown_source(other.source)} and {shown_source(job.source)}",
                next_step="give each line a target of its own"
                if is_manifest
                else "name them in a manifest, each with a target of its own",
            )
    return jobs


def _place_of(source: str) -> str:
    return source if is_address(source) else os.path.abspath(source)  # noqa: PTH100  # a link is not followed


def read_manifest(path: Path) -> Manifest:
    """The lines of a manifest, with files relative to its folder.

    Raises UsageError for one that is not a JSON object, and CheckpointError for a file that cannot be read.
    """
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise CheckpointError(f"`manifest` {path} has more than {MAX_MANIFEST_BYTES} bytes", next_step="split it")
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise CheckpointError(
            f"`manifest` {path} cannot be read: {error.strerror}", next_step="look at the path"
        ) from error
    entries = [_object(line, f"line {number} of {path}") for number, line in enumerate(lines, 1)]
    placed = (entry and {name: _placed(name, value, path.parent) for name, value in entry.items()} for entry in entries)
    return Manifest(placed, path)


def _object(line: bytes, where: str) -> dict[str, Any] | None:
    try:
        return parse_object(line) if line.strip() else None
    except ValueError as error:
        raise UsageError(
            f"{where} is not a JSON object",
            found=str(error),
            next_step='one object a line: {"source": "checkpoint.pth", "target": "name"}',
        ) from error


def _job(entry: Mapping[str, Any], defaults: Request, level: str, line: str) -> Job:
    known = (*OWN_FIELDS, *(field.name for field in fields(Request)))
    if unknown := sorted(entry.keys() - set(known)):
        from difflib import get_close_matches

        close = get_close_matches(unknown[0], known, n=1)
        raise UsageError(
            f"{line} has a field that is not known: {unknown[0]}",
            did_you_mean=close[0] if close else None,
            next_step=f"fields are {', '.join(known)}",
        )
    source, target = entry.get("source"), entry.get("target", "")
    if not isinstance(source, str) or not source:
        raise UsageError(f"{line} has no source", next_step='add "source": a path, relative to the manifest')
    if target != "" and not _is_target(target):
        raise UsageError(
            f"{line} has a target that is not a name in OUT",
            expected=f"a name without slashes, such as run7-100000, and none of {LOG} and {PAGE}",
            found=value_text(target),
            next_step="leave it out, or give a name",
        )
    try:
        asked = {name: value for name, value in entry.items() if name not in OWN_FIELDS}
        request = defaults.updated(Request.from_dict(asked)) if asked else defaults
        refuse_together(request)
        checks = Checks(level=entry.get("verify", level))
    except (UsageError, TypeError) as error:
        raise _in_line(line, error) from error
    return Job(source, target, request, checks.level)


def _in_line(line: str, error: UsageError | TypeError) -> UsageError:
    if not isinstance(error, UsageError):
        return UsageError(f"{line}: {error}", next_step="mend the line")
    return UsageError(f"{line}: {error.what}", **{**error.parts, "next_step": error.next_step or "mend the line"})


def _placed(name: str, value: Any, base: Path) -> Any:
    """A value of a manifest: files are relative to its folder, whatever lies where the fleet was started."""
    is_file = isinstance(value, str) and name in ("source", *FILES) and not is_address(value)
    if not is_file or value in (IMAGENET, IMAGENET_LABELS):
        return value
    is_path = glob.has_magic(value) or (base / value).exists() or Path(value).exists()
    return str(base / value) if is_path else value


def _is_target(name: Any) -> bool:
    if isinstance(name, str) and name.lower() in (LOG, PAGE):  # the fleet's own files
        return False
    return isinstance(name, str) and is_name(name) and not name.startswith(".") and not set(name) & set("/\\:")


def expanded(source: str, aside: list[str] | None = None) -> list[str]:
    """The checkpoints that a source names: itself, a pattern's files, a run's, or those in a listing.

    What a run's folder holds beside those that are taken of it goes into `aside`.
    """
    if is_address(source):
        with suppress(CheckpointError, HubError):  # which the job says, and does not stop the others
            return _listed(source)
        return [source]
    path = Path(source)
    if not path.exists() and glob.has_magic(source):
        found = sorted(map(Path, glob.glob(source, recursive=True)), key=iterations)  # noqa: PTH207  # as it was typed
        if not found:
            raise CheckpointError(
                f"no checkpoint matches the pattern {source}",
                found="nothing of such a name",
                next_step=(f"ls -l {as_word(_deepest(path))}", "in a pattern in quotes, ** stands for any folders"),
            )
        above = {folder for each in found for folder in each.parents}  # which ** gives with what they hold
        held = [_checkpoints_at(each, aside) or ([] if each in above else [str(each)]) for each in found]
        return list(dict.fromkeys(chain.from_iterable(held)))
    return [source] if path.is_file() else _checkpoints_at(path, aside) or [source]


def _deepest(path: Path) -> Path:
    """The folder nearest to a path that is there."""
    return next((above for above in path.parents if above.is_dir()), Path())


def _checkpoints_at(path: Path, aside: list[str] | None) -> list[str]:
    """What is a checkpoint itself, or those of a run's folder. Those that were not fetched are among them."""
    if path.is_dir() and not holds_one_checkpoint(path):
        with suppress(CheckpointError):  # as above
            linked = [each for levels in ("*", "*/*", "eval/*/*") for each in path.glob(levels) if leads_nowhere(each)]
            gone = [each for each in linked if each.name.lower().endswith(FILE_ENDINGS)]
            found = checkpoints_within(path)
            if aside is not None and found:
                aside += map(str, also_within(path, found))
            return list(map(str, [*reversed(found), *sorted(gone)]))
    return [str(path)]


def _listed(address: str) -> list[str]:
    """The checkpoints below an address that is a folder, and no model itself."""
    from dinoport.files.remote.hub import hub_file

    at_hub = hub_file(address)
    if at_hub is not None:
        return _listed_at_hub(address) if at_hub.is_folder and at_hub.kind is None else [address]
    if scheme_of(address) in ("http", "https") or not address.endswith("/"):
        return [address]
    from dinoport.files.remote.filesystem import listed_in

    found = listed_in(address)
    return sorted(_checkpoints(found), key=lambda each: iterations(Path(each))) or [address]


def _listed_at_hub(address: str) -> list[str]:
    from dinoport.work.hub_folder import hub_folder

    folder = hub_folder(address, lambda *told: None)
    if "config.json" in folder.within:
        return [address]
    found = sorted(_checkpoints(folder.within), key=lambda each: iterations(Path(each)))
    return [folder.place.file(each).shown for each in found] or [address]


def _checkpoints(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name.lower().endswith(FILE_ENDINGS))


def shard_of(jobs: Sequence[Job], shard: str | None) -> list[Job]:
    """The jobs of one shard, `I/N` with I from 1 to N: by position in the list that is sorted by target."""
    ordered = sorted(jobs, key=lambda job: job.target)
    if shard is None:
        return ordered
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(
            "`shard` takes I/N, with I from 1 to N", found=shard, next_step="`shard=1/4`: the first of four"
        )
    return ordered[number - 1 :: count]
