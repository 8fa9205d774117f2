"""Which files of a folder dinoport or Transformers wrote, told by what is in them: nothing else is deleted or replaced.

A name alone says little: other programs keep a config.json, and people a README.md. Links, folders and whatever else
is not a plain file were written by neither.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from dinoport.errors import CheckpointError, FolderError
from dinoport.files.checksums import hash_file
from dinoport.formats.safetensors.reader import looks_like_safetensors
from dinoport.formats.transformers_folder import CONFIG, INDEXES, PROCESSOR, READ_BESIDE, REPORT, WEIGHTS, read_json
from dinoport.writing.licence import LICENCES

MAX_HASHED_BYTES = 64 * 1024**2
"""Of a file that dinoport.json lists. Larger ones are weights, which are told by their size and their beginning."""

CLASS_NAMES = (("model_type", str), ("architectures", list), ("architecture", str))
"""The fields by which a config.json names what it is of: those of Transformers and timm. Two are needed, or one of
them and a version: another program may well have one."""

VERSIONS = ("transformers_version", "pretrained_cfg")

PROCESSORS = ("image_processor_type", "feature_extractor_type", "processor_class")

CARD, CARD_MARKS = "README.md", (b"\n- dinoport\n", b"converted by dinoport.")

SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")

SYSTEMS_OWN = {".DS_Store": b"\0\0\0\1Bud1", "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}
"""What file managers leave in a folder that was looked at, with how it begins."""


def foreign(folder: Path) -> dict[str, str]:
    """What in a folder neither dinoport nor Transformers wrote: each name, and the same as a message gives it.

    It is everything where nothing says that the folder is one of a model. Raises OSError for a disk that refuses.
    """
    return {name: text for name, text in _Contents(folder).judged() if text}


def replaced(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the `names` that are in a folder, and that neither wrote. Each is judged alone, and so is a card.

    Raises OSError for a disk that refuses.
    """
    contents = _Contents(folder)
    return [name for name in names if not contents.may_replace(name)]


def refuse_what_hides(names: Collection[str], folder: Path) -> None:
    """Raise FolderError where Transformers would load something else than `names`, by what lies there already."""
    beside = [name for name in READ_BESIDE if CONFIG in names and os.path.lexists(folder / name)]
    if beside:
        raise FolderError(
            f"{folder} holds {beside[0]}, by which Transformers would load something else than what is written there",
            where=str(folder / beside[0]),
            found=", ".join(beside),
            next_step="move it away, or choose another folder",
        )


@dataclass(frozen=True)
class _Contents:
    folder: Path

    def judged(self) -> Iterator[tuple[str, str]]:
        """Every name, with nothing where its file is one of ours."""
        is_of_a_model = self._is_config(CONFIG) or bool(self.report)
        for name, mode in self._modes.items():
            if S_ISREG(mode):
                yield name, "" if is_of_a_model and self._is_ours(name) else name
            else:
                kind = "/" if S_ISDIR(mode) else " (a link)" if S_ISLNK(mode) else " (no file)"
                yield name, f"{name}{kind}"

    def may_replace(self, name: str) -> bool:
        """A merge that was cut short leaves cards and licences of one run beside the report of another."""
        mode = self._modes.get(name)
        if mode is None or not S_ISREG(mode):
            return mode is None
        start = self._start(name, MAX_HASHED_BYTES) if name == CARD else b""
        return self._is_ours(name) or all(mark in start for mark in CARD_MARKS)

    def _is_ours(self, name: str) -> bool:
        if name in self.listed and self._is_as_listed(name):
            return True
        if name in SYSTEMS_OWN:
            return self._start(name).startswith(SYSTEMS_OWN[name])
        rule = _RULES.get(name, _Contents._is_shard if SHARD.fullmatch(name) else None)
        return rule is not None and rule(self, name)

    def _is_as_listed(self, name: str) -> bool:
        entry, path = self.listed[name], self.folder / name
        size_bytes = path.stat().st_size
        if size_bytes != entry.get("size_bytes"):
            return False
        try:
            return size_bytes > MAX_HASHED_BYTES or hash_file(path)[1] == entry.get("sha256")
        except CheckpointError:
            return False

    def _is_config(self, name: str) -> bool:
        config = self.json(name)
        named = sum(bool(config.get(field)) and isinstance(config[field], kind) for field, kind in CLASS_NAMES)
        return named > 1 or (named == 1 and any(field in config for field in VERSIONS))

    def _is_weights(self, name: str) -> bool:
        start = self._start(name)
        return start.startswith((b"PK\3\4", b"\x80")) or looks_like_safetensors(start)

    def _is_shard(self, name: str) -> bool:
        maps = (self.json(index).get("weight_map") for index in INDEXES)
        return self._is_weights(name) and any(isinstance(found, dict) and name in found.values() for found in maps)

    def _is_licence(self, name: str) -> bool:
        texts = (licence.content for licence in LICENCES.values() if licence.file_name == name)
        return self._start(name, MAX_HASHED_BYTES) in [text.encode() for text in texts]

    def _is_of_git_lfs(self, name: str) -> bool:
        """As the Hub begins each repository."""
        lines = self._start(name, MAX_HASHED_BYTES).decode("utf-8", "replace").split("\n")
        return all("filter=lfs" in line for line in lines if line.strip())

    @cached_property
    def _modes(self) -> dict[str, int]:
        with os.scandir(self.folder) as entries:
            return {
                entry.name: entry.stat(follow_symlinks=False).st_mode
                for entry in sorted(entries, key=lambda entry: entry.name)
            }

    @cached_property
    def report(self) -> Mapping[str, Any]:
        found = self.json(REPORT)
        fields = {"format": int, "verdict": dict, "source": dict, "files": list}
        return found if all(isinstance(found.get(name), kind) for name, kind in fields.items()) else {}

    @cached_property
    def listed(self) -> Mapping[str, Mapping[str, Any]]:
        """What the report says of the files that were written with it."""
        entries = [entry for entry in self.report.get("files", ()) if isinstance(entry, dict)]
        return {entry["name"]: entry for entry in entries if isinstance(entry.get("name"), str)}

    def json(self, name: str) -> Mapping[str, Any]:
        """A JSON object in a plain file of the folder; an empty one for everything else."""
        if not S_ISREG(self._modes.get(name, 0)):
            return {}
        try:
            return read_json(self.folder / name)
        except CheckpointError:
            return {}

    def _start(self, name: str, size: int = 512) -> bytes:
        with (self.folder / name).open("rb") as file:
            return file.read(size)


_RULES: Mapping[str, Callable[[_Contents, str], bool]] = {
    CONFIG: _Contents._is_config,
    REPORT: lambda contents, name: bool(contents.report),
    PROCESSOR: lambda contents, name: any(isinstance(contents.json(name).get(field), str) for field in PROCESSORS),
    ".gitattributes": _Contents._is_of_git_lfs,
    **{licence.file_name: _Contents._is_licence for licence in LICENCES.values() if licence.text},
    **dict.fromkeys(INDEXES, lambda contents, name: isinstance(contents.json(name).get("weight_map"), dict)),
    **dict.fromkeys(WEIGHTS, _Contents._is_weights),
}
"""For each name that Transformers writes too, or that is written anew: how its content tells. A card that is not as
it was listed is somebody's own."""
