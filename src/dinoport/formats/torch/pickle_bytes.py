"""The bytes of a pickle, taken from front to back, and the limits on single values and on what it makes."""

import codecs
import re
import struct

from dinoport.errors import CheckpointError
from dinoport.shown.text import value_text

MAX_INTEGER_BYTES = 1024
"""Of one integer. Random states hold some long ones; Python's own parsing of decimal digits is quadratic."""

MAX_FLOAT_CHARACTERS = 64
"""Of a float as text: repr takes 24, and parsing thousands of digits is quadratic too."""

DECIMAL = re.compile(rb"0|-?[1-9][0-9]*")
FLOAT = re.compile(rb"-?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?|-?inf|nan")
"""Numbers as Python writes them. Of other spellings (010, +1, 1_000) each unpickler has an opinion of its own."""

MAX_INDEX_CHARACTERS = 24

MAX_LINE_BYTES = 65_536
"""Of one text line in the text opcodes: names and numbers."""


class PickleBytes:
    """A cursor over the bytes of a pickle. Raises CheckpointError where they end too early, say or make too much."""

    def __init__(
        self, data: bytes, where: str, position: int, max_objects: int, max_memory_bytes: int | None = None
    ) -> None:
        self.data = data
        self._where = where
        self._max_objects = self._objects_left = max_objects
        self._max_memory_bytes, self._memory_bytes = max_memory_bytes, 0
        self.position = position
        self.frame_end: int | None = None
        self.wanted = 0
        """Where the bytes would have ended that were wanted last and not there."""

    def broken(self, found: str) -> CheckpointError:
        return CheckpointError(
            f"{self._where} is not a sound pickle",
            found=found,
            cause="a damaged file, a file of another kind, or one that was made to mislead",
            next_step="fetch the file again; a genuine checkpoint comes from torch.save",
        )

    def broken_here(self, found: str) -> CheckpointError:
        return self.broken(f"{found} at byte {self.position}")

    def end_of(self, count: int) -> int:
        """Where the next `count` bytes end. Where there are fewer, the position is the end of all."""
        begin, end = self.position, self.position + count
        if count < 0 or end > len(self.data):
            self.position, self.wanted = len(self.data), end
            raise self.broken(f"{count} bytes wanted at byte {begin} of {len(self.data)}")
        return end

    def begin_frame(self) -> None:
        size_bytes = self.unsigned(8)
        if self.frame_end is not None:
            raise self.broken(f"a frame within a frame at byte {self.position}")
        self.frame_end = self.end_of(size_bytes)

    def check_frame(self, *, stopped: bool = False) -> None:
        """A frame is read at once, so one that reaches beyond its pickle swallows what comes after it."""
        if self.frame_end is None or (self.position < self.frame_end and not stopped):
            return
        if self.position != self.frame_end:
            raise self.broken(f"a frame that ends elsewhere than what is in it at byte {self.position}")
        self.frame_end = None

    def take(self, count: int) -> bytes:
        begin, self.position = self.position, self.end_of(count)
        return self.data[begin : self.position]

    def line(self, limit: int = MAX_LINE_BYTES) -> bytes:
        end = self.data.find(b"\n", self.position, self.position + limit)
        if end < 0:
            begin = self.position
            self.position = len(self.data) if limit == MAX_LINE_BYTES else min(begin + limit, len(self.data))
            raise self.broken(f"a text line without an end at byte {begin}")
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    def unsigned(self, size: int) -> int:
        """A number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def counted(self, size: int) -> bytes:
        """Bytes behind their number, which itself takes `size` bytes."""
        return self.take(int.from_bytes(self.take(size), "little"))

    def text(self, size: int) -> str:
        return self.counted(size).decode("utf-8", "surrogatepass")

    def old_text(self, count: int) -> str:
        """A str of Python 2, which torch takes for UTF-8."""
        return self.take(count).decode()

    def quoted_line(self) -> str:
        text = self.line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise self.broken(f"a string without quotes at byte {self.position}")
        decoded, _ = codecs.escape_decode(text[1:-1])
        return decoded.decode()

    def integer(self, text: bytes) -> int:
        if len(text) > MAX_INTEGER_BYTES:
            raise self.broken(f"an integer of {len(text)} digits at byte {self.position}")
        if not DECIMAL.fullmatch(text):
            raise self.broken(f"the integer {value_text(text[:40])} at byte {self.position}")
        return int(text)

    def long_text(self) -> int:
        return self.integer(self.line(MAX_INTEGER_BYTES + 3).removesuffix(b"L"))

    def index(self) -> int:
        """The number of a memo entry, as text."""
        return self.integer(self.line(MAX_INDEX_CHARACTERS))

    def integer_or_bool(self) -> int:
        text = self.line(MAX_INTEGER_BYTES + 2)
        return {b"00": False, b"01": True}[text] if text in (b"00", b"01") else self.integer(text)

    def long_integer(self, count: int) -> int:
        if not 0 <= count <= MAX_INTEGER_BYTES:
            raise self.broken(f"an integer of {count} bytes at byte {self.position}")
        return int.from_bytes(self.take(count), "little", signed=True)

    def float_text(self) -> float:
        text = self.line(MAX_FLOAT_CHARACTERS)
        if not FLOAT.fullmatch(text):
            raise self.broken(f"the number {value_text(text)} at byte {self.position}")
        return float(text)

    def float_bytes(self) -> float:
        return float(struct.unpack(">d", self.take(8))[0])

    def count(self, objects: int) -> None:
        """Count what is made against what a checkpoint can need."""
        self._objects_left -= objects
        if self._objects_left < 0:
            raise self.broken_here(f"more than {self._max_objects} objects")

    def weigh(self, size_bytes: int) -> None:
        """Count what objects take of memory, where that is limited too."""
        self._memory_bytes += size_bytes
        if self._max_memory_bytes is not None and self._memory_bytes > self._max_memory_bytes:
            raise self.broken_here(f"objects of more than {self._max_memory_bytes} bytes")
