"""Whether the files of a folder are those that its own report lists. Nothing here says that a model is equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dinoport.shown.lines import LABEL, Printed, entry
from dinoport.shown.packages import runnable
from dinoport.shown.text import as_word, shown


@dataclass(frozen=True, repr=False)
class Standing(Printed):
    """`claims` repeats the verdict that the folder's report gives itself, and nobody vouches for; else None.

    `trusts` says whose hashes were taken, where they were not computed here; `commit` is that of a repository.
    """

    where: str
    claims: str | None
    files: tuple[str, ...]
    changes: tuple[str, ...]
    commit: str | None = None
    trusts: str | None = None

    @property
    def word(self) -> str:
        return "changed" if self.changes else "unchanged"

    def lines(self) -> Iterator[str]:
        """The result as lines of text."""
        yield from entry(self.word, self.where)
        for change in self.changes:
            yield from entry("because", change)
        if not self.changes:
            yield from entry("", f"all {len(self.files)} files are as dinoport.json lists them")
        if self.trusts:
            yield from entry("trusting", self.trusts)
        yield from entry("claims", self.claims or "nothing: dinoport.json holds no verdict")
        if self.claims:
            yield from entry("", "dinoport.json says this of itself, and nobody vouches for it")
        yield shown(f"{'prove it':<{LABEL}}{runnable(f'dinoport verify SOURCE {as_word(self.where)}')}")

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-ready data."""
        return {"word": self.word, **super().to_dict()}
