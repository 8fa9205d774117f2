"""An unpickler that runs nothing: opcodes are interpreted here, under limits, and globals become stand-ins.

The C unpickler can be made to import, call and allocate gigabytes by a few bytes. This one knows the opcodes of
protocols 0 to 5 as the standard library's `pickletools` documents them, and builds plain data alone: a class that it
does not know becomes an `Opaque`, whose arguments and state can be read.
"""

import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

from dinoport.formats.torch.pickle_bytes import PickleBytes
from dinoport.formats.torch.pickle_machine import PickleMachine
from dinoport.formats.torch.pickle_objects import Builder

MAX_OPCODES = 2_000_000
"""The training checkpoint of a 7B model with its optimizer takes some two hundred thousand."""

MAX_OBJECTS = 500_000
"""Containers, calls and memo entries in all, of some 200 bytes each; those of a 7B model's checkpoint: a hundred
thousand. What a call may copy is counted too, so that one large list cannot be copied by a few bytes each time."""

OBJECT_BYTES = 24
"""Of an object beside its own size: what the collector keeps of it, and a reference to it."""

MAX_STACK = 1_000_000
"""Objects waiting at once; a dict of all tensors of a 7B model takes a few thousand."""


class InertUnpickler(PickleMachine):
    """Reads one pickle from `data` at `position`; afterwards `bytes.position` is behind it.

    `builders` turn the call of a known global into data; `persistent` turns a persistent id into data. Raises
    UnsafeCheckpointError for a forbidden global, CheckpointError for anything that is not a sound pickle.
    """

    def __init__(
        self,
        data: bytes,
        where: str,
        builders: Mapping[str, Builder],
        persistent: Callable[[object], object] | None = None,
        position: int = 0,
        max_opcodes: int = MAX_OPCODES,
        max_objects: int = MAX_OBJECTS,
        max_memory_bytes: int | None = None,
    ) -> None:
        unread = PickleBytes(data, where, position, max_objects, max_memory_bytes)
        super().__init__(unread, where, builders, persistent)
        self._max_opcodes = max_opcodes
        self._counts_memory = max_memory_bytes is not None

    def load(self) -> object:
        """Interpret opcodes up to STOP and return the one object that is left."""
        unread, stack = self.bytes, self.stack
        data = unread.data
        try:
            for _ in range(self._max_opcodes):
                try:
                    opcode = data[unread.position]
                except IndexError:
                    raise unread.broken_here("an end within a pickle,") from None
                unread.position += 1
                if opcode == STOP:
                    unread.check_frame(stopped=True)
                    return self.pop()
                handler = _HANDLERS.get(opcode)
                if handler is None:
                    raise unread.broken_here(f"opcode {opcode:#04x}, which checkpoints do not use,")
                handler(self)
                if unread.frame_end is not None:
                    unread.check_frame()
                if opcode in _MAKING:
                    unread.count(1)
                if self._counts_memory and opcode in _PUSHING:
                    unread.weigh(OBJECT_BYTES + stack[-1].__sizeof__())
                if len(stack) > MAX_STACK:
                    raise unread.broken_here(f"more than {MAX_STACK} objects at once")
        except (
            IndexError,
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            UnicodeError,
            struct.error,
        ) as error:
            raise unread.broken_here(
                f"an instruction that does not fit its arguments ({type(error).__name__})"
            ) from error
        raise unread.broken_here(f"more than {self._max_opcodes} opcodes")


STOP = 0x2E

Handler: TypeAlias = Callable[[PickleMachine], object]
"""What an opcode does; its result is not looked at."""

_HANDLERS: Mapping[int, Handler] = {
    ord("("): PickleMachine.mark,
    ord("0"): PickleMachine.discard,
    ord("1"): PickleMachine.pop_to_mark,
    ord("2"): lambda machine: machine.push(machine.top),
    ord("B"): lambda machine: machine.push(machine.bytes.counted(4)),
    ord("C"): lambda machine: machine.push(machine.bytes.counted(1)),
    ord("F"): lambda machine: machine.push(machine.bytes.float_text()),
    ord("G"): lambda machine: machine.push(machine.bytes.float_bytes()),
    ord("I"): lambda machine: machine.push(machine.bytes.integer_or_bool()),
    ord("J"): lambda machine: machine.push(machine.bytes.signed(4)),
    ord("K"): lambda machine: machine.push(machine.bytes.unsigned(1)),
    ord("L"): lambda machine: machine.push(machine.bytes.long_text()),
    ord("M"): lambda machine: machine.push(machine.bytes.unsigned(2)),
    ord("N"): lambda machine: machine.push(None),
    ord("P"): lambda machine: machine.persist(machine.bytes.line().decode()),
    ord("Q"): lambda machine: machine.persist(machine.pop()),
    ord("R"): PickleMachine.call,
    ord("S"): lambda machine: machine.push(machine.bytes.quoted_line()),
    ord("T"): lambda machine: machine.push(machine.bytes.old_text(machine.bytes.signed(4))),
    ord("U"): lambda machine: machine.push(machine.bytes.old_text(machine.bytes.unsigned(1))),
    ord("V"): lambda machine: machine.push(machine.bytes.line().decode("raw_unicode_escape")),
    ord("X"): lambda machine: machine.push(machine.bytes.text(4)),
    ord("a"): lambda machine: machine.extend([machine.pop()]),
    ord("b"): PickleMachine.set_state,
    ord("c"): PickleMachine.name_in_lines,
    ord("d"): PickleMachine.make_dict,
    ord("}"): lambda machine: machine.push({}),
    ord("e"): lambda machine: machine.extend(machine.pop_to_mark()),
    ord("g"): lambda machine: machine.get(machine.bytes.index()),
    ord("h"): lambda machine: machine.get(machine.bytes.unsigned(1)),
    ord("i"): PickleMachine.call_name_in_lines,
    ord("j"): lambda machine: machine.get(machine.bytes.unsigned(4)),
    ord("l"): lambda machine: machine.push(machine.pop_to_mark()),
    ord("]"): lambda machine: machine.push([]),
    ord("o"): PickleMachine.call_to_mark,
    ord("p"): lambda machine: machine.put(machine.bytes.index()),
    ord("q"): lambda machine: machine.put(machine.bytes.unsigned(1)),
    ord("r"): lambda machine: machine.put(machine.bytes.unsigned(4)),
    ord("s"): PickleMachine.set_item,
    ord("t"): lambda machine: machine.push(tuple(machine.pop_to_mark())),
    ord(")"): lambda machine: machine.push(()),
    ord("u"): lambda machine: machine.set_items(machine.pop_to_mark()),
    0x80: PickleMachine.set_protocol,
    0x81: PickleMachine.new,
    0x85: lambda machine: machine.make_tuple(1),
    0x86: lambda machine: machine.make_tuple(2),
    0x87: lambda machine: machine.make_tuple(3),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    0x8A: lambda machine: machine.push(machine.bytes.long_integer(machine.bytes.unsigned(1))),
    0x8B: lambda machine: machine.push(machine.bytes.long_integer(machine.bytes.signed(4))),
    0x8C: lambda machine: machine.push(machine.bytes.text(1)),
    0x8D: lambda machine: machine.push(machine.bytes.text(8)),
    0x8E: lambda machine: machine.push(machine.bytes.counted(8)),
    0x8F: lambda machine: machine.push(set()),
    0x90: lambda machine: machine.add(machine.pop_to_mark()),
    0x91: PickleMachine.make_frozenset,
    0x92: PickleMachine.new_with_keywords,
    0x93: PickleMachine.name_from_stack,
    0x94: lambda machine: machine.put(len(machine.memo)),
    0x95: lambda machine: machine.bytes.begin_frame(),
    0x96: lambda machine: machine.push(bytearray(machine.bytes.counted(8))),
}
"""Left out, and so refused: the extension registry (0x82 to 0x84), and buffers outside the pickle (0x97, 0x98)."""

_PUSHING = frozenset(_HANDLERS) - frozenset(b"(01abeghjpqrsuKN)\x80\x88\x89\x90\x94\x95")
"""Opcodes that push what may be a new object: not one that the pickle, or Python, has already."""

_MAKING = frozenset(b"BRcd}il]opqrt\x81\x85\x86\x87\x8e\x8f\x91\x92\x93\x94\x96")
"""Opcodes that make a container, a call, a name or a memo entry, or keep bytes: what is counted."""
