"""The files of a folder: those that a conversion writes, those that its report lists, and whether they are the same."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from dinoport.errors import CheckpointError
from dinoport.files.checksums import hash_file
from dinoport.files.links import refuse_leaving
from dinoport.files.names import is_name
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.transformers_folder import CONFIG, INDEXES, PROCESSOR
from dinoport.work.folder import REPORT
from dinoport.writing.licence import LICENCES

READ_BY_TRANSFORMERS = frozenset(
    {".json", ".py", ".safetensors", ".bin", ".h5", ".msgpack", ".jinja", ".model", ".txt"}
)
"""A file of such a name, that no conversion wrote, may change what a folder loads as."""

TEXTS = frozenset({".json", ".yaml", ".md", ".txt"})

CONFIGS = frozenset({CONFIG, PROCESSOR})

RESEALED = f"{REPORT} was changed since it was written: it does not have its own sha256"

DOCUMENTS = frozenset({"README.md", *(licence.file_name for licence in LICENCES.values() if licence.text)})
"""What people read. Its writer may change it, and the model stays the same; a verification says that it was changed."""

OWN_NAMES = frozenset({*CONFIGS, REPORT, *DOCUMENTS})
"""What a conversion writes besides the weights."""

WEIGHTS_WRITTEN = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|pytorch_model(-[0-9]{5}-of-[0-9]{5})?\.bin")
"""Names that a conversion gives to weights, or Transformers where it saves a folder again."""


def strange_files(path: Path, folder: Checkpoint, configs: Collection[str]) -> Iterator[str]:
    """Names that are listed, or that Transformers may read, and that no conversion with these `configs` writes."""
    listed = _listed(folder.report)
    written = _written(folder) - (CONFIGS - set(configs))
    for name in sorted(listed | {file.name for file in path.iterdir()}):
        if name not in written and (name in listed or may_be_read(name)):
            yield name


def may_be_read(name: str) -> bool:
    """Whether a file of this name, in the folder itself, may change what the folder loads as."""
    return is_file_name(name) and Path(name).suffix in READ_BY_TRANSFORMERS


@dataclass(frozen=True)
class Broken:
    """A file that is not what dinoport.json says of it, in words; `name` is empty where that is not a file's name."""

    name: str
    what: str
    missing: bool = False


def broken_hashes(path: Path, report: Mapping[str, object], *, documents: bool) -> Iterator[Broken]:
    """Files of `dinoport.json` that are not what it says: those that people read, or all others."""
    listed = {REPORT}
    for entry in entries_of(report):
        listed |= {entry["name"]} if entry else set()
        if (entry is not None and entry["name"] in DOCUMENTS) == documents:
            yield from broken_entry(path, entry)
    for file in () if documents else sorted(path.iterdir()):
        if file.name not in listed and file.name in OWN_NAMES and file.suffix in READ_BY_TRANSFORMERS:
            yield Broken(file.name, f"{file.name} is in the folder, and {REPORT} does not list it")


def broken_entry(path: Path, entry: Mapping[str, Any] | None) -> Iterator[Broken]:
    """What one file of `entries_of` is not."""
    if entry is None:
        yield Broken("", f"{REPORT} names a file that cannot be in the folder")
        return
    name = entry["name"]
    try:
        refuse_leaving(path / name, path)
        if not (path / name).exists():
            yield Broken(name, f"{name} is missing", missing=True)
            return
        size_bytes, sha256 = hash_file(path / name)
    except CheckpointError as error:
        yield Broken("", error.what)
        return
    for field, found in (("sha256", sha256), ("size_bytes", size_bytes)):
        if found != entry.get(field):
            yield Broken(name, f"{name} has another {field} than {REPORT} says")
            return


def entries_of(report: Mapping[str, object]) -> Iterator[dict[str, Any] | None]:
    """The files that a report lists; None for an entry that names no file."""
    files = report.get("files")
    for entry in files if isinstance(files, list) else []:
        yield entry if isinstance(entry, dict) and is_file_name(entry.get("name")) else None


def what_is_missing(folder: Path) -> str:
    """Why a place has no report that can be read."""
    if not folder.exists():
        return "does not exist"
    if not folder.is_dir():
        return "is a file"
    return f"has a {REPORT} that cannot be read" if (folder / REPORT).exists() else f"has no {REPORT}"


def is_file_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and is_name(name) and name not in ("", "..") and Path(name).name == name


def _written(folder: Checkpoint) -> frozenset[str]:
    """Names that a conversion or Transformers gives to files, as far as they are weights: of those that are read."""
    return frozenset({*OWN_NAMES, *weights_read(folder)})


def weights_read(folder: Checkpoint) -> frozenset[str]:
    """The names of a folder's weights that were read, and of their index."""
    names = {Path(source.where).name for source in folder.sources}
    weights = {name for name in names if WEIGHTS_WRITTEN.fullmatch(name)}
    return frozenset({*weights, *(index for index in INDEXES if weights and index in folder.files)})


def is_model(name: str) -> bool:
    """Whether a file holds a model, and not what people and libraries read beside it."""
    return name not in OWN_NAMES and Path(name).suffix not in TEXTS


def is_weights(name: str) -> bool:
    return bool(WEIGHTS_WRITTEN.fullmatch(name)) or name in INDEXES


def _listed(report: Mapping[str, object] | None) -> set[str]:
    files = (report or {}).get("files")
    entries = files if isinstance(files, list) else []
    return {str(entry["name"]) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)}
