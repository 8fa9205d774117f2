"""Whether the files of a folder are those that its own report lists. Nothing here says that a model is equal."""

from collections.abc import Iterator
from dataclasses import dataclass

from dinoport.shown.calls import SOURCE, runnable
from dinoport.shown.lines import Printed, entry, whole


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
        yield whole(runnable("verify", SOURCE, self.where), "prove it")

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-ready data."""
        return {"word": self.word, **super().to_dict()}
