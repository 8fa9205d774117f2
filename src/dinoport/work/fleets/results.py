"""What becomes of a job: its status, as plain data, and the log of a fleet."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dinoport import __version__
from dinoport.files.disk_errors import disk_errors
from dinoport.report.fleet import ORDER
from dinoport.shown.address import shown_source

DONE, THERE, ELSEWHERE, NOT_EQUAL, REFUSED, KILLED, CRASHED, SKIPPED = ORDER
"""Converted now; there already, and still true; another run is writing it; what was not proven; what could not be
converted; whose worker was killed; that met what nobody foresaw; that was never begun, as the fleet was to stop at the
first that fails."""

FOUND = (DONE, THERE, NOT_EQUAL)
"""What was found of a folder, and stands until it is proven again, whatever becomes of a job meanwhile."""

FAILED = (NOT_EQUAL, REFUSED, KILLED, CRASHED)

LOG, PAGE = "fleet.jsonl", "fleet.html"


def blank(job: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a result, before anything is known."""
    return {
        "source": shown_source(job["source"]),
        "target": job["target"],
        "status": SKIPPED,
        "verdict": None,
        "exceptions": [],
        "error": None,
        "seconds": None,
        "peak_bytes": None,
        "tries": 1,
        "ends": None,
        "host": None,
        "version": __version__,
    }


def without_result(job: Mapping[str, Any], status: str, kind: str, text: str, tries: int = 1) -> dict[str, Any]:
    """The result of a job that gave none itself."""
    return {**blank(job), "status": status, "error": {"kind": kind, "text": text}, "tries": tries}


def append(out: Path, result: Mapping[str, Any]) -> None:
    """Add a line to the log, which other fleets may write at the same moment. The truth is in the folders."""
    line = f"{json.dumps(result, ensure_ascii=False)}\n".encode(errors="replace")
    path = out / LOG
    with disk_errors(path, len(line)), path.open("a+b", buffering=0) as log:
        if log.tell() and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n":  # of a line that was cut off
            line = b"\n" + line
        while line:
            line = line[log.write(line) :]
        os.fsync(log.fileno())


def last_of_each(out: Path, statuses: Collection[str] = ORDER) -> list[dict[str, Any]]:
    """What the log says last of each target, by name, with one of these `statuses`. A line that was cut off counts as
    none.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = (out / LOG).read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            result = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict) and isinstance(result.get("target"), str) and result.get("status") in statuses:
            before = found.get(result["target"])
            if before is None or result.get("status") not in (ELSEWHERE, SKIPPED):
                found[result["target"]] = result
    return [found[name] for name in sorted(found)]
