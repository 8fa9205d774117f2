"""How much memory this machine has, or a container may take."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Where Linux says what a container may take: in both versions of its control groups."""


def total_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """All memory, not only what is free; None where the system does not say it."""
    found: list[int] = []
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in LIMITS:
        with suppress(OSError, ValueError):  # `max`: no limit
            found.append(int((cgroup / name).read_text()))
    return min(found, default=None)
