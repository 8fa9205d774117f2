"""A web server that answers anything: statuses and headers are what is fuzzed, bodies are those of a sound file.

Whatever a server says of it, a file is either refused or read as it is.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from unittest import mock

from dinoport.files.remote import http, patience
from dinoport.files.remote.client import Response
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.remote.opening import open_remote
from dinoport.formats.torch.writer import write_torch_file
from tests import formula
from tests.writing.stub_tensors import tensor

URL = "https://example.org/models/checkpoint.pth"

MAX_ANSWERS = 40
"""Then the server says that it is gone, so that no input goes on without end."""

RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")

LINE = re.compile(r"([!-9;-~]+): *([^\r\n]*)")
"""What a client takes for a header."""

SOUND = b"""\
206
content-range: bytes 0-65535/%d
etag: "one"
last-modified: Tue, 24 Nov 2026 10:00:00 GMT

302
location: https://cdn.example.org/signed?key=secret

206
content-range: bytes {range}/%d
etag: "one"

200
content-length: %d
"""


SHAPES = {"patch_embed.proj.weight": (90, 3, 8, 8), "pos_embed": (1, 50, 90), "norm.weight": (90,)}
"""Of 87 kB, more than what is asked for at first."""


@cache
def _file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return _write(folder).read_bytes()


@cache
def _held() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return _values(open_checkpoint(_write(folder)))


def _write(folder: str) -> Path:
    path = Path(folder, "checkpoint.pth")
    write_torch_file(path, [tensor(name, formula.tensor(name, shape)) for name, shape in SHAPES.items()])
    return path


def sound() -> bytes:
    return SOUND % ((len(_file()),) * 3)


def _values(checkpoint: Checkpoint) -> dict[str, bytes]:
    with checkpoint:
        state = state_dicts(checkpoint)[0]
        return {name: tensor.read().tobytes() for name, tensor in state.tensors.items()}


def read_from_server(data: bytes) -> None:
    """Read a checkpoint from a server that gives these answers in turn, the last of them again and again."""
    answers = data.decode("latin-1").split("\n\n")
    asked = iter(range(MAX_ANSWERS))

    def send(url: str, headers: Mapping[str, str]) -> Response:
        number = next(asked, None)
        if number is None:
            return Response(404, {}, iter(()), ExitStack())
        return _answer(answers[min(number, len(answers) - 1)], headers)

    with (
        tempfile.TemporaryDirectory() as cache_folder,
        mock.patch.dict(os.environ, {"DINOPORT_CACHE": cache_folder}),
        mock.patch.object(http, "send", send),
        mock.patch.object(patience, "sleep"),
    ):
        values = _values(open_remote(URL))
    assert values == _held(), "what was read is not what is there"


def _answer(text: str, asked: Mapping[str, str]) -> Response:
    """`{range}` in a header stands for the range that was asked for, `!` behind a status for a body that breaks off."""
    status, _, lines = text.strip("\n").partition("\n")
    found = RANGE.fullmatch(asked.get("range", ""))
    first = int(found[1]) if found else 0
    last = min(int(found[2]) if found and found[2] else len(_file()) - 1, len(_file()) - 1)
    headers = dict(LINE.findall(lines.replace("{range}", f"{first}-{last}")))
    number = int(status[:3]) if status[:3].isascii() and status[:3].isdecimal() else 200
    body = _file()[first : last + 1] if number == 206 else _file()
    return Response(number, headers, _chunks(body[: len(body) // 2] if "!" in status else body), ExitStack())


def _chunks(body: bytes) -> Iterator[bytes]:
    for begin in range(0, len(body), 3000):
        yield body[begin : begin + 3000]
