"""Names as templates: `blocks.{i}.norm{n}.{p}`, matched in full and filled back.

A placeholder called `p` stands for a parameter's last name (`weight`, `running_mean`), `r` for all the rest of a name,
dots included; every other one stands for a number, without sign or leading zero. `{s+1}` stands for the number s + 1,
for codebases that count from one. Both sides of a rule share the placeholders, so a match on either side fills the
other.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

Bindings: TypeAlias = Mapping[str, int | str]

_PLACEHOLDER = re.compile(r"\{([a-z])(?:\+(\d))?\}")
_NUMBER = r"(0|[1-9][0-9]{0,5})"
_WORD = r"([A-Za-z_][A-Za-z0-9_]*)"
_REST = r"([A-Za-z0-9_][A-Za-z0-9_.]*)"


@dataclass(frozen=True)
class Pattern:
    """One template. Equal templates are equal patterns."""

    template: str

    @cached_property
    def _fields(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, int(offset or 0)) for name, offset in _PLACEHOLDER.findall(self.template))

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        literal = _PLACEHOLDER.split(self.template)[::3]
        groups = [{"p": _WORD, "r": _REST}.get(name, _NUMBER) for name, _ in self._fields] + [""]
        return re.compile("".join(re.escape(text) + group for text, group in zip(literal, groups, strict=True)))

    def match(self, name: str) -> Bindings | None:
        """The placeholders' values if the whole `name` fits the template, else None."""
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        bindings: dict[str, int | str] = {}
        for (key, offset), text in zip(self._fields, found.groups(), strict=True):
            value: int | str = text if key in "pr" else int(text) - offset
            if (isinstance(value, int) and value < 0) or bindings.setdefault(key, value) != value:
                return None
        return bindings

    def fill(self, bindings: Bindings) -> str:
        """The name that the template gives for these values: the inverse of `match`."""

        def put(found: re.Match[str]) -> str:
            value = bindings[found[1]]
            return value if isinstance(value, str) else str(value + int(found[2] or 0))

        return _PLACEHOLDER.sub(put, self.template)
