"""A pickle as a list of opcodes, each with its argument as bytes, and the parts of it that make one value each."""

import pickletools
import struct
from dataclasses import dataclass
from itertools import pairwise

Program = tuple[bytes, ...]

STACK_EFFECTS = {code.code.encode("latin-1"): code for code in pickletools.opcodes}


def parsed(data: bytes, start: int = 0) -> tuple[Program, int]:
    """The opcodes of the pickle at `start`, and where it ends."""
    places = [position for _, _, position in pickletools.genops(data[start:])]
    end = start + places[-1] + 1
    bounds = [start + place for place in places] + [end]
    return tuple(data[a:b] for a, b in pairwise(bounds)), end


@dataclass(frozen=True)
class Span:
    """The opcodes `start` to `stop` of a program, which together push one value."""

    start: int
    stop: int


def spans(program: Program) -> list[Span]:
    """Every part that pushes one value; as far as the opcodes make sense."""
    found: list[Span] = []
    stack: list[int] = []
    marks: list[int] = []
    for at, op in enumerate(program):
        info = STACK_EFFECTS[op[:1]]
        begin = at
        needed = list(info.stack_before)
        try:
            if pickletools.markobject in needed:
                mark = marks.pop()
                begin = mark
                while stack and stack[-1] > mark:
                    stack.pop()
                needed = needed[: needed.index(pickletools.markobject)]
            for _ in needed:
                begin = min(begin, stack.pop())
        except IndexError:
            return found
        if pickletools.markobject in info.stack_after:
            marks.append(at)
        elif info.stack_after:
            stack += [begin] * len(info.stack_after)
            found.append(Span(begin, at + 1))
    return found


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def name(dotted: str) -> bytes:
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()
