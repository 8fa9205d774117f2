"""One job of a fleet: plain data in, plain data out, and no exception, so that any engine can carry it."""

import hashlib
import json
import shlex
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dinoport import __version__
from dinoport.errors import DinoportError, FolderError, InUseError, NotProvenError, printable
from dinoport.files.byte_sources import ends_of
from dinoport.formats.run_config import NAME, START, run_places
from dinoport.formats.shards import RANK_FILE
from dinoport.formats.transformers_folder import INDEX, MAX_JSON_BYTES, REPORT
from dinoport.progress import silent
from dinoport.request import FILES, Checks, Request, words_of
from dinoport.shown.address import is_address, shown_source
from dinoport.work.fleets.results import CRASHED, DONE, ELSEWHERE, NOT_EQUAL, REFUSED, THERE, blank

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
        if job.get("cwd") not in (None, str(Path.cwd())):
            raise DinoportError(
                f"this worker runs in {Path.cwd()}, and the fleet in {job['cwd']}", next_step="give absolute paths"
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
    report = recorded_in(Path(job["folder"]))
    try:
        if report is None or job.get("recheck") or _elsewhere(job):
            return None
        if _other(job, Request.from_dict(job["request"]), report) or not _is_surely_true(job, report):
            return None
    except OSError:  # of looking, where one may not look: the job says so
        return None
    return {**blank(job), **_still_there(job, report), "seconds": 0.0, "host": socket.gethostname()}


def _done(job: Mapping[str, Any], admit: Admission) -> dict[str, Any]:
    from dinoport.work.convert import convert_place

    target, request = Path(job["folder"]), Request.from_dict(job["request"])
    report = recorded_in(target)
    if report is not None:
        _refuse_other(job, request, target, report)
        if not job.get("recheck") and _is_surely_true(job, report):
            return _still_there(job, report)
        admit(EXACT_BYTES)
        return _rechecked(job, request, target, report)
    admit(_needed(job, request))
    seen = _seen(job)
    try:
        made = convert_place(job["source"], target, request, Checks(level=job["level"]), silent)
    except FolderError:
        if recorded_in(target) is None:
            raise
        return _done(job, admit)  # another fleet made it meanwhile
    return {"status": DONE, **_verdict(made.to_dict()), "ends": [*seen, _state(target)]}


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
        expected=f"made with {_options(request.to_dict())}; the verdict {' or '.join(sorted(PROVEN[job['level']]))}",
        found=found,
        next_step="give the options that it was made with, remove it, or give another target",
    )


def _other(job: Mapping[str, Any], request: Request, report: Mapping[str, Any]) -> str | None:
    """What a folder is, where it is not what a job makes."""
    if report.get("request") != request.to_dict():
        asked = report.get("request")
        return f"a folder that was made with {_options(asked if isinstance(asked, dict) else {})}"
    word = str(report["verdict"].get("word"))
    return None if word in PROVEN[job["level"]] else f"a folder whose verdict is {word}"


def _options(asked: Mapping[str, object]) -> str:
    """What was asked for, as it is written on the command line."""
    return shlex.join(words_of(asked)) or "no options"


def _is_surely_true(job: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Whether nothing was touched since this version last proved the folder: neither its files nor what they are of."""
    before = job.get("before", {})
    if before.get("status") == NOT_EQUAL or before.get("version") != __version__:
        return False
    try:
        read = {file["name"] for file in report["source"]["files"]}
    except (KeyError, TypeError):
        return False
    if not _elsewhere(job) and not read <= {path.name for path in _files(*_read_by(job))}:
        return False
    return bool(before.get("ends") == [*_seen(job), _state(Path(job["folder"]))])


def _still_there(job: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": THERE, **_verdict(report), "ends": job["before"]["ends"]}


def _seen(job: Mapping[str, Any]) -> list[str]:
    """What tells all that a job reads from what may lie in its place later.

    That is the state of files on this machine, and the ends of others. A commit of the Hub is part of where these lie.
    """
    from dinoport.finding.sources import locate

    found = [_state(*_read_by(job))]
    for place in _elsewhere(job):
        with locate(place, look=True).open() as checkpoint:
            found += [*(source.where for source in checkpoint.sources), ends_of(checkpoint.sources)]
    return found


def _elsewhere(job: Mapping[str, Any]) -> list[str]:
    """What a job reads that does not lie on this machine."""
    named = [job["request"].get(name) for name in ("head", "base")]
    source = [] if Path(job["source"]).exists() else [job["source"]]
    return [*source, *(place for place in named if place and is_address(place))]


def _read_by(job: Mapping[str, Any]) -> list[Path]:
    """All places on this machine that a job may read.

    Beside the source that is what its request names, and what is read of its own accord: the other files of one that
    is in several, the config of its run, and the results of an evaluation beside its head.
    """
    from dinoport.codebases.dinov2.linear import RESULTS

    source = Path(job["source"]).absolute()
    named = [Path(str(job["request"][name])) for name in FILES if name in job["request"]]
    beside = [folder / NAME for folder in run_places(source, is_folder=source.is_dir())]
    beside += [source.parent / START, source.parent / REPORT, *(path.parent / RESULTS for path in named)]
    together = source.name.endswith(INDEX) or RANK_FILE.fullmatch(source.name)
    return [*(source.parent.glob("*.*") if together else [source]), *named, *beside]


def _state(*places: Path) -> str:
    """A hash of where files lie, with their sizes and times, among them that of the last change of any kind.

    Checkpoints of two runs have one name, one size and perhaps one time, and a link may lead to another today.
    """
    found = []
    for path in _files(*places):
        with suppress(OSError):  # what is not there is not read
            seen = path.stat()
            found.append([str(path.resolve()), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns])
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()


def _files(*places: Path) -> list[Path]:
    found = [each for path in places for each in (path.rglob("*") if path.is_dir() else [path])]
    return [path for path in found if path.is_file()]


def _rechecked(job: Mapping[str, Any], request: Request, target: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Prove an existing folder again, by its tensors. It stays as it is, whatever is found."""
    from dinoport.work.verify import verify_place
    from dinoport.writing.commit import take_back

    take_back(target)  # of a run that was killed before the log had a word of it
    ends = [*_seen(job), _state(target)]
    found = verify_place(job["source"], target, request, Checks(level="exact"), silent)
    if found.verdict.failed:
        raise NotProvenError(
            f"{target} is not equal to {shown_source(job['source'])} any more",
            found="; ".join(found.verdict.failures[:5]),
            next_step="remove the folder, and run the fleet again",
            report=found,
        )
    return {"status": THERE, **_verdict(report), "ends": ends}


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
