"""How many jobs fit on this machine at once."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from dinoport.files.memory import LIMITS
from dinoport.work.fleets.one_job import EXACT_BYTES, FULL_BYTES

SHARE = 0.8
"""Of what is free, or of what a container may take, a fleet takes this much."""

UNKNOWN_BYTES = 4 * 10**9
"""Where the system does not say what is free."""

USED = ("memory.current", "memory/memory.usage_in_bytes")
"""Where Linux says what a container has taken of each of LIMITS."""


def free_bytes(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The memory that new work may take: what the system calls available, within the limit of a container."""
    found = [UNKNOWN_BYTES]
    with suppress(OSError):
        available = re.search(r"MemAvailable:\s+([0-9]+) kB", proc.read_text())
        found = [int(available[1]) * 1024] if available else found
    for limit, used in zip(LIMITS, USED, strict=True):
        with suppress(OSError, ValueError):  # `max`: no limit
            found.append(int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
    return max(int(SHARE * min(found)), 1)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_at_once(level: str, memory_bytes: int) -> int:
    """By cores, and by what the smallest job of this level takes."""
    each = FULL_BYTES if level == "full" else EXACT_BYTES
    return max(min(cores(), memory_bytes // each), 1)
