"""An open checkpoint: what the file holds as plain data, with references for tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.distributed.signs import METADATA, SUFFIX
from dinoport.formats.run_config import RunConfig
from dinoport.formats.torch.modules import unread_parts
from dinoport.progress import Progress, silent
from dinoport.tensor import TensorRef


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """`tree` is plain data whose leaves may be TensorRefs; they can be read until the checkpoint is closed.

    `config` is the config.json of a folder of Transformers, `report` its dinoport.json, `processor` its
    preprocessor_config.json; `written` is the dinoport.json of an original's file that a conversion wrote, `run` the
    config.yaml of the training run that wrote it, `adapter` the config of low-rank parts whose base lies elsewhere;
    None where there is none. `files` are what such a folder is loaded from, by name: small ones as they are, weights as
    their source. `remarks` are what a user should know of how it was opened. `gaps` say why other files may hold
    more of it. `in_pieces` says that it was put together from flat pieces: its tensors have no shapes yet, which
    are the network's. `beside` are names of files in a folder that Transformers reads of its own accord. `attributes`
    are plain ones of a module in memory, by the path of each module in it. `looked_at` says that no file is hashed;
    else `on_progress` is told how far that is.
    """

    where: str
    format: str
    tree: object
    sources: tuple[ByteSource, ...]
    config: Mapping[str, object] | None = None
    report: Mapping[str, object] | None = None
    processor: Mapping[str, object] | None = None
    adapter: Mapping[str, object] | None = None
    written: Mapping[str, object] | None = None
    run: RunConfig | None = None
    remarks: tuple[str, ...] = ()
    files: Mapping[str, bytes | ByteSource] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    in_pieces: bool = False
    beside: tuple[str, ...] = ()
    attributes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    looked_at: bool = False
    on_progress: Progress = silent

    @cached_property
    def vouched(self) -> Mapping[str, object]:
        """What is `written` of this very file, by its hash; empty where it is of another. The whole file is read.

        A trainer that writes over a file leaves the report beside it, and may write as many bytes. A file that is only
        looked at is taken for the report's by name and size.
        """
        if self.written and (self.looked_at or _has_its_hashes(Path(self.where), self.written, self.on_progress)):
            return self.written
        return {}

    @cached_property
    def unread(self) -> tuple[tuple[str, str], ...]:
        """Parts that hold tensors and are not read: where each lies, and what it is."""
        return tuple(unread_parts(self.tree))

    @property
    def tensors(self) -> dict[str, TensorRef]:
        """The tensors of a folder, or of a file that holds nothing else, by name; a pickle's own names are places."""
        tree = self.tree if isinstance(self.tree, dict) else {}
        return {name: tensor.renamed(name) for name, tensor in tree.items() if isinstance(tensor, TensorRef)}

    @property
    def size_bytes(self) -> int:
        return sum(source.size_bytes for source in self.sources)

    def check_unchanged(self) -> None:
        """Raise CheckpointError if a file is not what it was when it was opened."""
        for source in self.sources:
            source.check_unchanged()

    def close(self) -> None:
        for source in self.sources:
            source.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _has_its_hashes(path: Path, report: Mapping[str, object], on_progress: Progress) -> bool:
    """Whether a file, or each file of a distributed checkpoint, has the hash that the dinoport.json beside it gives."""
    from dinoport.files.checksums import hash_file

    listed = report.get("files")
    entries = [each for each in (listed if isinstance(listed, list) else ()) if isinstance(each, dict)]
    hashes = {str(each.get("name")): each.get("sha256") for each in entries}
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.name.endswith((METADATA, SUFFIX))]
    return all(hashes.get(each.name) == hash_file(each, on_progress)[1] for each in files)
