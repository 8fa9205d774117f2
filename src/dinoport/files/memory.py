"""How much memory this machine has, or a container may take, and how much of it is free."""

import os
import re
from contextlib import suppress
from pathlib import Path

LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Where Linux says what a container may take: in both versions of its control groups."""

SHARE = 0.8
"""How much of the free memory, or of a container's limit, new work takes."""

UNKNOWN_BYTES = 4 * 10**9
"""Where the system does not say what is free."""

USED = ("memory.current", "memory/memory.usage_in_bytes")
"""Where Linux says what a container has taken of each of LIMITS."""


def total_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """All memory, not only what is free; None where the system does not say it."""
    found: list[int] = []
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in LIMITS:
        with suppress(OSError, ValueError):  # `max`: no limit
            found.append(int((cgroup / name).read_text()))
    return min(found, default=None)


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
