"""The wire format of Protocol Buffers: numbered fields, each a number, four or eight bytes, or a run of bytes.

A run of bytes may be a text, packed numbers or a message: only who reads it knows. It stays where it lies until it is
read, so that weights inside a file are never copied to be looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import MADE_TO_MISLEAD, damaged

MAX_FIELDS = 4_000_000
"""In one file. A graph of a thousand nodes has some twenty thousand; four million take seconds to walk."""

MAX_UNPACKED = 1 << 20
"""Numbers of a field that are written one by one, as shapes are. Weights are written as bytes."""

MAX_RUNS = 100_000
"""Of one field of a message. It is more than the nodes and the tensors that a graph may have."""

MAX_TEXT_BYTES = 4096
"""Of one text: a name, or the place of a file."""

WINDOW_BYTES = 64 * 1024

EXPORT_AGAIN = "fetch or export the file again"

VARINT, EIGHT, RUN, FOUR = 0, 1, 2, 5
"""The four kinds of values."""


@dataclass(frozen=True, slots=True)
class Run:
    """The bytes from `start` to `stop` of a file's wire."""

    wire: Wire
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start

    def bytes(self) -> bytes:
        return self.wire.source.read(self.start, self.size_bytes)

    def text(self) -> str:
        """Raises CheckpointError for one that is long or no UTF-8."""
        if self.size_bytes > MAX_TEXT_BYTES:
            raise self.wire.broken(f"a text of {self.size_bytes} bytes", f"at most {MAX_TEXT_BYTES}")
        try:
            return self.bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.wire.broken("a text that is not UTF-8", "UTF-8") from error

    def fields(self) -> Iterator[tuple[int, int | float | Run]]:
        """The fields of the message that these bytes are, in order, each with its number."""
        at = self.start
        while at < self.stop:
            key, at = self.wire.varint(at, self.stop)
            kind, number = key & 7, key >> 3
            value: int | float | Run
            if kind == VARINT:
                value, at = self.wire.varint(at, self.stop)
            elif kind == RUN:
                length, at = self.wire.varint(at, self.stop)
                if length > self.stop - at:
                    raise self.wire.broken(f"{length} bytes of field {number}", f"at most {self.stop - at}")
                value, at = Run(self.wire, at, at + length), at + length
            elif kind in (EIGHT, FOUR):
                size = 8 if kind == EIGHT else 4
                if size > self.stop - at:
                    raise self.wire.broken(f"field {number} cut off", f"{size} bytes")
                value = struct.unpack("<d" if kind == EIGHT else "<f", self.wire.source.read(at, size))[0]
                at += size
            else:
                raise self.wire.broken(f"a field of kind {kind}", "kinds 0, 1, 2 and 5")
            self.wire.count()
            yield number, value

    def message(self, *numbers: int) -> Message:
        """The message that these bytes are, with the fields of these numbers and no others."""
        return Message(self, numbers)

    def varints(self) -> Iterator[int]:
        """The whole numbers that these bytes are, packed; from 0 to 2^64."""
        at = self.start
        while at < self.stop:
            value, at = self.wire.varint(at, self.stop)
            self.wire.count()
            yield value


class Message:
    """Some fields of a message by number, without values of another kind than is asked for.

    The others are walked over, and nothing of them is held: a file can have millions of them. Of several values of a
    field that has one, the last counts, as in Protocol Buffers.
    """

    def __init__(self, run: Run, numbers: Iterable[int]) -> None:
        self._fields: dict[int, list[int | float | Run]] = {number: [] for number in numbers}
        for number, value in run.fields():
            held = self._fields.get(number)
            if held is None:
                continue
            held.append(value)
            if isinstance(value, Run) and len(held) > MAX_RUNS:
                raise run.wire.broken(f"more than {MAX_RUNS} values of field {number}", "a graph of some thousand")
            if len(held) > MAX_UNPACKED:
                raise run.wire.broken(f"more than {MAX_UNPACKED} numbers written one by one", "weights as bytes")

    @property
    def numbers(self) -> Set[int]:
        """Of the fields that it has."""
        return {number for number, values in self._fields.items() if values}

    def runs(self, number: int) -> list[Run]:
        return [value for value in self._fields[number] if isinstance(value, Run)]

    def run(self, number: int) -> Run | None:
        return next(reversed(self.runs(number)), None)

    def texts(self, number: int) -> tuple[str, ...]:
        return tuple(run.text() for run in self.runs(number))

    def text(self, number: int) -> str:
        run = self.run(number)
        return run.text() if run else ""

    def floats(self, number: int) -> list[float]:
        return [value for value in self._fields[number] if isinstance(value, float)]

    def wholes(self, number: int) -> Iterator[int]:
        """Whole numbers, which may also be packed: from 0 to 2^64."""
        for value in self._fields[number]:
            if isinstance(value, Run):
                yield from value.varints()
            elif isinstance(value, int):
                yield value

    def whole(self, number: int) -> int:
        return next((value for value in reversed(self._fields[number]) if isinstance(value, int)), 0)


class Wire:
    """A file in this format, read through a small window."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._window, self._from = b"", 0
        self._fields = 0

    @property
    def whole(self) -> Run:
        return Run(self, 0, self.source.size_bytes)

    def varint(self, at: int, stop: int) -> tuple[int, int]:
        """The number at byte `at`, and where what follows it begins."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= stop:
                raise self.broken("a number cut off", "the rest of it")
            if not self._from <= at < self._from + len(self._window):
                self._from = at
                self._window = self.source.read(at, min(WINDOW_BYTES, self.source.size_bytes - at))
            byte = self._window[at - self._from]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
        raise self.broken("a number of more than ten bytes", "64 bits")

    def count(self) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise self.broken(f"more than {MAX_FIELDS} fields", "a graph of some thousand nodes")

    def broken(self, found: str, expected: str) -> CheckpointError:
        cause = f"a download that broke off, {MADE_TO_MISLEAD}"
        what = f"{self.source.where} is not a sound ONNX file"
        return damaged(what, found, expected, cause=cause, next_step=EXPORT_AGAIN)
