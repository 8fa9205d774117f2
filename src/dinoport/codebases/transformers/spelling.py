"""The names of a table as one version of Transformers or another writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dinoport.mapping.rule import Rule


def spelled(rules: Iterable[Rule], shapes: Iterable[str], pairs: Sequence[tuple[str, str]]) -> tuple[Rule, ...]:
    """The rules with those names in memory in the place of names on disk that a file has."""
    used = [(disk, memory) for disk, memory in pairs if any(f".{memory.lstrip('}.')}." in name for name in shapes)]

    def change(template: str) -> str:
        for disk, memory in used:
            template = template.replace(disk, memory)
        return template

    return tuple(rule.spelled(change) for rule in rules)
