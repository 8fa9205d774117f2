"""The files of a folder beside its weights: written from a prepared conversion, and held against one to verify it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.preparation import Prepared, Request
from dinoport.targets.transformers.processor import processor_config
from dinoport.tensor import FLOAT_DTYPES, dtype_name
from dinoport.verify.verdict import Verdict
from dinoport.writing.card import CardFacts, card
from dinoport.writing.json_file import write_json, write_text
from dinoport.writing.output_file import WrittenFile

REPORT = "dinoport.json"
OWN_FILES = ("config.json", "preprocessor_config.json")


def configs(prepared: Prepared) -> dict[str, dict[str, object]]:
    """The content of config.json and preprocessor_config.json."""
    floats = {step.target.dtype for step in prepared.plan.steps if step.target.dtype in FLOAT_DTYPES.values()}
    widest = max(floats, key=lambda dtype: dtype.itemsize)
    return {
        "config.json": {**prepared.target.config, "dtype": dtype_name(widest)},
        "preprocessor_config.json": processor_config(prepared.target.preprocessing),
    }


def write_configs(prepared: Prepared, folder: Path) -> list[WrittenFile]:
    return [write_json(folder / name, content) for name, content in configs(prepared).items()]


def write_card(prepared: Prepared, folder: Path, name: str, verdict: Verdict) -> WrittenFile:
    facts = CardFacts(
        folder=name,
        family=prepared.family.title,
        upstream=prepared.family.upstream,
        verdict=str(verdict),
        settings=tuple(map(str, prepared.reading.settings)),
        remarks=prepared.remarks,
        pooler=prepared.request.pooler == "identity",
    )
    return write_text(folder / "README.md", card(prepared.target, facts))


def request_of(folder: Checkpoint) -> Request:
    """What was asked for when a folder was made, from its dinoport.json; nothing where it has none."""
    asked = (folder.report or {}).get("request")
    if not isinstance(asked, Mapping):
        return Request()
    return Request.from_dict(asked)


def problems_of(prepared: Prepared, path: Path, folder: Checkpoint) -> tuple[str, ...]:
    """What in the folder's JSON files is not what a conversion would write, and which hashes do not hold."""
    problems = []
    for name, expected in configs(prepared).items():
        found = _read_json(path / name)
        if not isinstance(found, dict):
            problems.append(f"{name} is missing or not a JSON object")
            continue
        problems += [
            f"{name}: {field} is {found.get(field)!r}, expected {expected.get(field)!r}"
            for field in sorted((expected.keys() | found.keys()) - IGNORED_FIELDS)
            if expected.get(field) != found.get(field)
        ]
    problems += _broken_hashes(path, folder.report or {})
    return tuple(problems)


IGNORED_FIELDS = frozenset({"transformers_version"})
"""What Transformers adds on saving, without a bearing on what is computed."""


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _broken_hashes(path: Path, report: Mapping[str, object]) -> list[str]:
    files = report.get("files")
    problems = []
    for entry in files if isinstance(files, list) else []:
        if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str) or Path(name).name != name:
            problems.append(f"{REPORT} names a file that cannot be in the folder")
            continue
        try:
            with (path / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            problems.append(f"{name} cannot be read: {error.strerror}")
            continue
        if digest != entry.get("sha256"):
            problems.append(f"{name} has another sha256 than {REPORT} says")
    return problems
