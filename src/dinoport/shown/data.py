"""Objects as JSON-ready data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import PurePath
from typing import Any


def plain(value: object) -> Any:
    """What JSON has: objects by their fields, paths as text. It knows no infinity: a number without limit is null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value) or hasattr(value, "_fields"):
        return plain_fields(value)
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def plain_fields(value: Any) -> dict[str, object]:
    """The fields of an object, by name."""
    names = getattr(value, "_fields", None) or [field.name for field in fields(value)]
    return {name: plain(getattr(value, name)) for name in names}
