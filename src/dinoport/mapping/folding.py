"""Many names as few: `blocks.{0…11}.norm1.weight` instead of twelve lines."""

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<=\.)(?:0|[1-9][0-9]*)(?=\.|$)|(?<=layer)(?:0|[1-9][0-9]*)(?=\.)")
"""As a codebase writes them: 00 is another name than 0, and has to be shown as that."""


def fold_names(names: Iterable[str]) -> list[str]:
    """Fold names that differ in their first number alone, in order of appearance.

    `["blocks.0.a", "blocks.1.a", "b"]` becomes `["blocks.{0…1}.a", "b"]`; gaps are kept: `{0, 2…4}`.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for name in names:
        found = _NUMBER.search(name)
        if found is None:
            groups.setdefault((name, ""), [])
        else:
            groups.setdefault((name[: found.start()], name[found.end() :]), []).append(int(found[0]))
    return [before + _numbers(numbers) + after for (before, after), numbers in groups.items()]


def numbered_module(name: str) -> str:
    """A name up to its first number, `blocks.3` of `blocks.3.norm1.weight`; empty where it has none."""
    found = _NUMBER.search(name)
    return name[: found.end()] if found else ""


def _numbers(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return "{" + ", ".join(str(a) if a == b else f"{a}…{b}" for a, b in ranges) + "}"
