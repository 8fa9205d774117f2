"""A converted folder: what a conversion writes beside weights, what its report lists, and what it was made with."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from dinoport.codebases.transformers.labels import IMAGENET as IMAGENET_LABELS
from dinoport.errors import CheckpointError, SettingError
from dinoport.files.checksums import hash_file
from dinoport.files.folders import refuse_leaving
from dinoport.files.names import is_name
from dinoport.files.output_file import WrittenFile
from dinoport.finding.sources import IMAGENET
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.transformers_folder import CONFIG, INDEXES, PROCESSOR, REPORT
from dinoport.progress import Progress, silent
from dinoport.proofs.verdict import Verdict, Word
from dinoport.request import Request
from dinoport.work.conversion import Conversion
from dinoport.writing.card import CardFacts, card
from dinoport.writing.licence import LICENCES
from dinoport.writing.ownership import CARD
from dinoport.writing.start_page import start_page

READ_BY_TRANSFORMERS = frozenset(
    {".json", ".py", ".safetensors", ".bin", ".h5", ".msgpack", ".jinja", ".model", ".txt"}
)
"""A file of such a name, that no conversion wrote, may change what a folder loads as."""

TEXTS = frozenset({".json", ".yaml", ".md", ".txt"})

CONFIGS = frozenset({CONFIG, PROCESSOR})

RESEALED = f"{REPORT} was changed since it was written: it does not have its own sha256"

DOCUMENTS = frozenset({CARD, *(licence.file_name for licence in LICENCES.values() if licence.text)})
"""What people read. Its writer may change it, and the model stays the same; a verification says that it was changed."""

OWN_NAMES = frozenset({*CONFIGS, REPORT, *DOCUMENTS})
"""What a conversion writes besides the weights."""

WEIGHTS_WRITTEN = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|pytorch_model(-[0-9]{5}-of-[0-9]{5})?\.bin")
"""Names that a conversion gives to weights, or Transformers where it saves a folder again."""


def strange_files(path: Path, folder: Checkpoint, configs: Collection[str]) -> Iterator[str]:
    """Names that are listed, or that Transformers may read, and that no conversion with these `configs` writes."""
    listed = {entry["name"] for entry in entries_of(folder.report or {}) if entry}
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


def broken_entry(path: Path, entry: Mapping[str, Any] | None, on_progress: Progress = silent) -> Iterator[Broken]:
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
        size_bytes, sha256 = hash_file(path / name, on_progress)
    except CheckpointError as error:
        yield Broken("", error.what)
        return
    for field, found in (("sha256", sha256), ("size_bytes", size_bytes)):
        if found != entry.get(field):
            yield Broken(name, f"{name} has another {field.removesuffix('_bytes')} than {REPORT} says")
            return


def entries_of(report: Mapping[str, object]) -> Iterator[dict[str, Any] | None]:
    """The files that a report lists; None for an entry that names no file."""
    files = report.get("files")
    for entry in files if isinstance(files, list) else []:
        yield entry if isinstance(entry, dict) and is_file_name(entry.get("name")) else None


def what_is_missing(folder: Path) -> str:
    """Why a place has no report that can be read."""
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


def write_card(conversion: Conversion, folder: Path, name: str, verdict: Verdict) -> list[WrittenFile]:
    """The model card, and the licence's text where the source is a published model beyond doubt."""
    from dinoport.files.json_file import write_text

    if not conversion.writing.HAS_CARD and conversion.target.start is None:
        return []
    family = conversion.model.family
    genuine = conversion.located.genuine(family.name)
    licence = LICENCES[genuine.licence] if genuine else None
    start, target = conversion.target.start, conversion.target
    warnings = [f"warning: {each}" for each in conversion.warnings if start is None or each not in start.warnings]
    facts = CardFacts(
        folder=name,
        family=family.title,
        upstream=family.upstream,
        verdict=str(verdict),
        proven=verdict.word in (Word.EQUAL, Word.EQUAL_EXCEPT),
        rounded=conversion.cast is not None,
        settings=tuple(map(str, conversion.settings)),
        remarks=(*warnings, *conversion.remarks),
        licence=licence,
        base_model=genuine.hub if genuine else None,
    )
    page = start_page(start, conversion.plan.steps, facts) if start else card(conversion.writing, target, facts)
    written = [write_text(folder / CARD, page)]
    return [*written, licence.write(folder)] if licence and licence.text else written


def request_of(folder: Checkpoint) -> Request:
    """What was asked for when a folder was made, from its dinoport.json; nothing where it has none.

    Without the files and addresses that it names.
    """
    asked = (folder.report or {}).get("request")
    if not isinstance(asked, Mapping):
        return Request()
    request = Request.from_dict(asked)
    return replace(
        request,
        head=_keyword(request.head, IMAGENET),
        labels=_keyword(request.labels, IMAGENET_LABELS),
        config=None,
        base=None,
    )


def refuse_to_guess(folder: Checkpoint, given: Request | None) -> None:
    """Raise SettingError where a folder was made with files that `given` does not name: its own word opens none."""
    asked = (folder.report or {}).get("request")
    told = asked if isinstance(asked, Mapping) else {}
    for name, keyword in (("head", IMAGENET), ("labels", IMAGENET_LABELS), ("base", None)):
        if told.get(name) in (None, keyword) or (given and getattr(given, name) is not None):
            continue
        raise SettingError(
            f"{folder.where} was made with a file of its own for `{name}`, which has to be given again",
            where=f"{REPORT}: request.{name}",
            cause="a folder may come from a stranger, so no file or address that its report names is opened",
            next_step=f"add `{name}=FILE`, with the file that the folder was made with",
        )


def _keyword(value: str | Path | None, keyword: str) -> str | None:
    """A word that every installation understands alike, and nothing that would have to be opened."""
    return keyword if value == keyword else None
