"""Figures as people read them."""

from __future__ import annotations


def size_text(size_bytes: int) -> str:
    """A size in powers of 1000: `543 bytes`, `86.7 MB`, `4.55 GB`."""
    value = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
