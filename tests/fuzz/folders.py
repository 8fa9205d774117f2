"""Sound converted folders, in which one JSON file after the other is replaced by what is fuzzed."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from dinoport import api
from dinoport.errors import DinoportError
from dinoport.files.json_file import json_bytes
from dinoport.formats.transformers_folder import read_json
from dinoport.pictures.seeing import refuse_unfit, statistics
from dinoport.report.report import Report
from dinoport.report.text import inspection_lines, plan_lines, report_lines
from dinoport.request import Request
from tests import tiny

INDEX = "model.safetensors.index.json"
PROCESSOR = "preprocessor_config.json"

SHARD_BYTES = 2_000
"""Of the folder in parts: a handful of shards."""


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="dinoport-fuzz-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    source = tiny.write(root / "checkpoint.pth")
    api.convert(source, root / "whole", tiny.REQUEST, level="exact")
    api.convert(source, root / "parts", tiny.REQUEST, level="exact", max_shard_bytes=SHARD_BYTES)
    for name in ("whole", "parts"):
        shutil.copytree(root / name, root / "sound" / name)
    return root


def sound(name: str) -> bytes:
    """The file of this name as a conversion wrote it."""
    return (_root() / "sound" / ("parts" if name == INDEX else "whole") / name).read_bytes()


def read_folder_with(name: str, data: bytes) -> None:
    """Do with a folder all that needs no torch, once the file `name` in it holds `data`.

    Raises the first error of ours that a command meets, after all of them have run.
    """
    folder = _root() / ("parts" if name == INDEX else "whole")
    for path in _sound_files(folder):
        (folder / path.name).write_bytes(data if path.name == name else path.read_bytes())
    met = [_met(command, folder) for command in (_verify, _verify_with_words, _return, _inspect, _look)]
    for error in filter(None, met):
        raise error


def _met(command: Callable[[Path], None], folder: Path) -> DinoportError | None:
    try:
        command(folder)
    except DinoportError as error:
        if not all(line.isprintable() for line in str(error).split("\n")):
            raise AssertionError("a message that is not to be printed") from error
        return error
    return None


def _verify(folder: Path) -> None:
    report = api.verify(_root() / "checkpoint.pth", folder, level="exact")
    _show(report)
    same = all((folder / path.name).read_bytes() == path.read_bytes() for path in _sound_files(folder))
    told = report.verdict.failed or report.verdict.warnings
    assert told or same, "a changed file was called equal, and nothing was told"


def _verify_with_words(folder: Path) -> None:
    """With a request, which goes before the folder's own."""
    _show(api.verify(_root() / "checkpoint.pth", folder, Request(num_heads=4, dtype="float16"), level="exact"))


def _return(folder: Path) -> None:
    _show(api.plan(folder, to="original"))


def _inspect(folder: Path) -> None:
    found = api.inspect(folder)
    json_bytes(found.to_dict())
    assert all(line.isprintable() for line in inspection_lines(found))


def _look(folder: Path) -> None:
    """What `visualize` reads before it loads anything."""
    with suppress(DinoportError):
        refuse_unfit(folder, read_json(folder / "config.json"))
    statistics(folder)


def _show(report: Report) -> None:
    json_bytes(report.to_dict())
    assert all(line.isprintable() for line in (*report_lines(report), *plan_lines(report)))


def _sound_files(folder: Path) -> list[Path]:
    return sorted((_root() / "sound" / folder.name).iterdir())
