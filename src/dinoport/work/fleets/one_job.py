"""One job of a fleet: plain data in, plain data out, and no exception, so that any engine can carry it."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dinoport import __version__
from dinoport.errors import DinoportError, InUseError, NotProvenError, printable
from dinoport.files.byte_sources import ends_of
from dinoport.formats.run_config import NAME, START, run_places
from dinoport.formats.transformers_folder import MAX_JSON_BYTES, REPORT
from dinoport.progress import silent
from dinoport.report.as_json import is_sealed
from dinoport.request import FILES, Checks, Request
from dinoport.work.fleets.results import CRASHED, DONE, ELSEWHERE, KEPT, NOT_EQUAL, REFUSED, THERE, blank

PROVEN = {
    "none": {"equal", "equal except", "transported exactly", "computed again", "not verified"},
    "exact": {"equal", "equal except", "transported exactly", "computed again"},
    "full": {"equal", "equal except"},
}
"""Verdicts that are no less than what was asked for."""

Admission = Callable[[int], None]

EXACT_BYTES = 80_000_000
FULL_BYTES = 450_000_000
FULL_PER_WEIGHT = 1.6
"""Memory that a job takes: what was measured of exact and of full proofs, from 2 MB to 343 MB of weights."""


def run_job(job: Mapping[str, Any], admit: Admission | None = None) -> dict[str, Any]:
    """Convert and prove one checkpoint, unless that was done. Takes what `Job.to_plain` gives; never raises.

    `admit` is called with the memory that the job will take, in bytes, and returns when it may begin.
    """
    begun = time.monotonic()
    result = blank(job)
    try:
        if job.get("version", __version__) != __version__:
            raise DinoportError(
                f"this worker runs dinoport {__version__}, and the fleet {job['version']}",
                next_step="install one version on all machines",
            )
        result |= _done(job, admit or (lambda size_bytes: None))
    except InUseError as error:
        result |= {"status": ELSEWHERE, "error": _said(error)}
    except NotProvenError as error:
        verdict = error.report.verdict if error.report is not None else None
        result |= {"status": NOT_EQUAL, "verdict": str(verdict) if verdict else None, "error": _said(error)}
    except DinoportError as error:
        result |= {"status": REFUSED, "error": _said(error)}
    except MemoryError:
        result |= {"status": CRASHED, "error": {"kind": "MemoryError", "text": "the memory of this machine is used up"}}
    except Exception as error:  # what nobody foresaw is one job's end, and not the fleet's
        result |= {"status": CRASHED, "error": {"kind": type(error).__name__, "text": printable(str(error))}}
    seconds = round(time.monotonic() - begun, 3)
    return {**result, "seconds": seconds, "peak_bytes": _peak(), "host": socket.gethostname()}


def there_already(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of a job that was done, where looking at files of this machine is enough to tell; else None."""
    target, request = Path(job["folder"]), Request.from_dict(job["request"])
    report = recorded_in(target)
    if report is None or job.get("recheck") or not Path(job["source"]).exists():
        return None
    if _other(job, request, report) or not _is_surely_true(job, target, report):
        return None
    there = {"status": THERE, "seconds": 0.0, "host": socket.gethostname()}
    return {**blank(job), **_verdict(report), **_kept(job), **there}


def _done(job: Mapping[str, Any], admit: Admission) -> dict[str, Any]:
    from dinoport.work.convert import convert_place

    target, request = Path(job["folder"]), Request.from_dict(job["request"])
    report = recorded_in(target)
    if report is not None:
        _refuse_other(job, request, target, report)
        if job.get("recheck") or not _is_surely_true(job, target, report):
            admit(EXACT_BYTES)
            return _rechecked(job, request, target, report)
        return {"status": THERE, **_verdict(report), **_kept(job)}
    admit(_needed(job, request))
    seen = _seen(job)
    made = convert_place(job["source"], target, request, Checks(level=job["level"]), silent)
    return {"status": DONE, **_verdict(made.to_dict()), **seen}


def recorded_in(target: Path) -> dict[str, Any] | None:
    """What a folder's report says; None where there is none that can be read."""
    path = target / REPORT
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("verdict"), dict) else None


def _refuse_other(job: Mapping[str, Any], request: Request, target: Path, report: Mapping[str, Any]) -> None:
    """Raise DinoportError where a folder under the target's name is of another job."""
    found = _other(job, request, report)
    if found is None:
        return
    raise DinoportError(
        f"{target} exists, and is not what this job makes",
        expected=f"made with {request.to_dict()}, and {' or '.join(sorted(PROVEN[job['level']]))}",
        found=found,
        next_step="remove it, or give another target",
    )


def _other(job: Mapping[str, Any], request: Request, report: Mapping[str, Any]) -> str | None:
    """What a folder is, where it is not what a job makes."""
    if report.get("request") != request.to_dict():
        return f"a folder that was made with {report.get('request')}"
    word = str(report["verdict"].get("word"))
    return None if word in PROVEN[job["level"]] else f"a folder whose verdict is {word}"


def _is_surely_true(job: Mapping[str, Any], target: Path, report: Mapping[str, Any]) -> bool:
    """Whether the report is as it was written, and neither the folder's files nor the source were touched since.

    That is: since the folder was written, or was last proven again. A time alone proves nothing, so whatever looks
    newer is proven again, and so is what was found to be otherwise.
    """
    before = job.get("before", {})
    try:
        if before.get("status") == NOT_EQUAL:
            return False
        sealed = is_sealed((target / REPORT).read_bytes(), report)
        if not sealed or report["versions"]["dinoport"] != __version__:
            return False
        made = max((target / REPORT).stat().st_mtime_ns, before.get("proven_ns") or 0)
        for file in report["files"]:
            found = (target / file["name"]).stat()
            if found.st_size != file["size_bytes"] or found.st_mtime_ns > made:
                return False
        if not before.get("ends") or _seen(job)["ends"] != before["ends"]:
            return False
        source = Path(job["source"])
        return not source.exists() or _is_unchanged(source, report["source"], made)
    except (OSError, KeyError, TypeError, AttributeError, ValueError):
        return False


def _is_unchanged(source: Path, recorded: Mapping[str, Any], made_ns: int) -> bool:
    """Of a source on this machine, by sizes and times of its files."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    status = [path.stat() for path in files]
    sizes = {path.name: found.st_size for path, found in zip(files, status, strict=True)}
    if source.is_file() and sizes[source.name] != recorded["size_bytes"]:
        return False
    pinned = {file["name"]: file["size_bytes"] for file in recorded["files"]}
    same = all(sizes.get(name) == size_bytes for name, size_bytes in pinned.items())
    return same and all(max(found.st_mtime_ns, found.st_ctime_ns) <= made_ns for found in status)


def _kept(job: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier run found, where nothing is looked at again."""
    return {name: job.get("before", {}).get(name) for name in KEPT}


def _seen(job: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a source that is looked at now from a later one, and from another in its place.

    That is the time, and of files that lie elsewhere their ends. A commit of the Hub is part of where its files lie.
    """
    source, now = job["source"], {"proven_ns": time.time_ns(), "ends": None}
    if Path(source).exists():
        return {**now, "ends": _places(job)}
    from dinoport.finding.sources import locate

    with locate(source, look=True).open() as checkpoint:
        places = [source.where for source in checkpoint.sources]
        return {**now, "ends": [*places, ends_of(checkpoint.sources)]}


def _places(job: Mapping[str, Any]) -> str:
    """A hash of all that a job reads on this machine: where each file lies, with its size and time.

    Beside the source that is what its request names, and what is read of its own accord: checkpoints of two runs have
    one name and one size, a link may lead to another today, and a config may be edited.
    """
    source = Path(job["source"]).resolve()
    named = [Path(str(job["request"][name])) for name in FILES if name in job["request"]]
    runs = [folder / NAME for folder in run_places(source, is_folder=source.is_dir())]
    beside = [source.parent / START, source.parent / REPORT] if source.is_file() else []
    found: list[list[object]] = []
    for path in [source, *named, *runs, *beside]:
        with suppress(OSError):  # what is not there is not read
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            status = [(each.resolve(), each.stat()) for each in files if each.is_file()]
            found += [[str(each), seen.st_size, seen.st_mtime_ns] for each, seen in status]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _rechecked(job: Mapping[str, Any], request: Request, target: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Prove an existing folder again, by its tensors. It stays as it is, whatever is found."""
    from dinoport.work.verify import verify_place

    seen = _seen(job)
    found = verify_place(job["source"], target, request, Checks(level="exact"), silent)
    if found.verdict.failed:
        raise NotProvenError(
            f"{target} is not equal to {job['source']} any more",
            found="; ".join(found.verdict.failures[:5]),
            next_step="remove the folder, and run the fleet again",
            report=found,
        )
    return {"status": THERE, **_verdict(report), **seen}


def _needed(job: Mapping[str, Any], request: Request) -> int:
    """The memory that a conversion takes, in bytes, from its plan."""
    if job["level"] != "full":
        return EXACT_BYTES
    from dinoport.work.prepare import prepare

    with prepare(job["source"], request, look=True) as conversion:
        return int(FULL_BYTES + FULL_PER_WEIGHT * conversion.plan.size_bytes)


def _verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    verdict = report["verdict"]
    return {"verdict": verdict.get("text"), "exceptions": verdict.get("exceptions", [])}


def _said(error: DinoportError) -> dict[str, str]:
    return {"kind": type(error).__name__, "text": str(error)}


def _peak() -> int | None:
    """The most memory that this process has had, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
