"""What a publication did: what lies on the Hub now, and what was left on this machine."""

from collections.abc import Iterator
from dataclasses import dataclass

from dinoport.shown.calls import SOURCE, runnable
from dinoport.shown.lines import Printed, entry, whole
from dinoport.tensor import size_text


@dataclass(frozen=True)
class SentFile:
    """A file as it lies on the Hub; `hub_hash` is what the Hub lists it by: SHA-256, or of a small one git's SHA-1."""

    name: str
    size_bytes: int
    hub_hash: str


@dataclass(frozen=True, repr=False)
class Published(Printed):
    """`commit` is where every file was read back and is what was proven. `is_new` says that this run made it.

    `pull_request` is the address of the one that proposes the files, `private` whether others may see them,
    `left_out` names files of the folder that its report does not list. Of the repository, `removed` names files that
    Transformers would have read in place of these, `replaced` those that somebody else wrote or edited, `beside` those
    that no report lists and that Transformers may read: for them `verify` says `changed`.
    """

    repository: str
    revision: str
    commit: str
    url: str
    verdict: str
    is_new: bool
    private: bool
    files: tuple[SentFile, ...]
    pull_request: str | None = None
    left_out: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The result as lines of text."""
        yield from entry("published" if self.is_new else "is there", self.url)
        yield from entry("", f"{'private' if self.private else 'public'}, commit {self.commit}")
        if self.pull_request:
            yield from entry("proposed", self.pull_request)
        yield from entry("verdict", self.verdict)
        yield from entry("files", "read back from there, and each is what was proven:")
        for file in self.files:
            yield from entry("", f"{file.name}, {size_text(file.size_bytes)}, {file.hub_hash[:16]}…")
        for name in self.left_out:
            yield from entry("not sent", f"{name}, which dinoport.json does not list")
        for name in self.removed:
            yield from entry("removed", f"{name}, which Transformers would have read there")
        for name in self.replaced:
            yield from entry("replaced", f"{name}, which somebody else wrote or edited: the commit before this has it")
        for name in self.beside:
            yield from entry("beside", f"{name} lies in the repository, and dinoport.json does not list it")
        if self.beside:
            yield from entry("", "until it is removed there, a verification says `changed`")
        for remark in self.remarks:
            yield from entry("note", remark)
        yield from entry("note", "paths, target and command were replaced by names in dinoport.json and README.md")
        yield whole(runnable("verify", SOURCE, f"hf://{self.repository}@{self.commit}"), "prove it")
