"""An unpickler that runs nothing: opcodes are interpreted here, under limits, and globals become stand-ins.

The C unpickler can be made to import, call and allocate gigabytes by a few bytes. This one knows the opcodes of
protocols 0 to 5 as the standard library's `pickletools` documents them, and builds plain data alone: a class that it
does not know becomes an `Opaque`, whose arguments and state can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dinoport.checkpoints.pickle_bytes import PickleBytes
from dinoport.checkpoints.pickle_globals import dotted_name, is_forbidden
from dinoport.checkpoints.pickle_keys import KeyCheck
from dinoport.checkpoints.pickle_memo import PickleMemo
from dinoport.checkpoints.stand_ins import Global, Opaque
from dinoport.errors import CheckpointError, UnsafeCheckpointError

MAX_OPCODES = 2_000_000
"""The training checkpoint of a 7B model with its optimizer takes some two hundred thousand."""

MAX_OBJECTS = 500_000
"""Containers, calls and memo entries in all, of some 200 bytes each; those of a 7B model's checkpoint: a hundred
thousand. What a call may copy is counted too, so that one large list cannot be copied by a few bytes each time."""

OBJECT_BYTES = 24
"""Of an object beside its own size: what the collector keeps of it, and a reference to it."""

BYTES_OF_AN_OBJECT = 128
"""What counts as one object where text or bytes are copied."""

MAX_STACK = 1_000_000
"""Objects waiting at once; a dict of all tensors of a 7B model takes a few thousand."""

MAX_MEMO_INDEX = 2**31
"""Beyond, an index could be chosen to collide with others in a dict's hash table."""

Builder: TypeAlias = Callable[..., object]


class InertUnpickler:
    """Reads one pickle from `data` at `position`; afterwards `position` is behind it.

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
        self._bytes = PickleBytes(data, where, position)
        self._where = where
        self._builders = builders
        self._persistent = persistent
        self._max_opcodes = max_opcodes
        self._max_objects = self._objects_left = max_objects
        self._max_memory_bytes, self._memory_bytes = max_memory_bytes, 0
        self._keys = KeyCheck()
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo = PickleMemo()

    @property
    def position(self) -> int:
        return self._bytes.position

    def load(self) -> object:
        """Interpret opcodes up to STOP and return the one object that is left."""
        data, stack = self._bytes.data, self._stack
        try:
            for _ in range(self._max_opcodes):
                try:
                    opcode = data[self._bytes.position]
                except IndexError:
                    raise self._broken("an end within a pickle,") from None
                self._bytes.position += 1
                if opcode == STOP:
                    return self._pop()
                handler = _HANDLERS.get(opcode)
                if handler is None:
                    raise self._broken(f"opcode {opcode:#04x}, which checkpoints do not use,")
                handler(self)
                if opcode in _MAKING:
                    self._count(1)
                if self._max_memory_bytes is not None and opcode in _PUSHING:
                    self._take(OBJECT_BYTES + stack[-1].__sizeof__())
                if len(stack) > MAX_STACK:
                    raise self._broken(f"more than {MAX_STACK} objects at once")
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
            raise self._broken(f"an instruction that does not fit its arguments ({type(error).__name__})") from error
        raise self._broken(f"more than {self._max_opcodes} opcodes")

    def _broken(self, found: str) -> CheckpointError:
        return self._bytes.broken(f"{found} at byte {self.position}")

    def _count(self, objects: int) -> None:
        """Count what is made against what a checkpoint can need."""
        self._objects_left -= objects
        if self._objects_left < 0:
            raise self._broken(f"more than {self._max_objects} objects")

    def _take(self, size_bytes: int) -> None:
        """Count what objects take of memory, where that is limited too."""
        self._memory_bytes += size_bytes
        if self._max_memory_bytes is not None and self._memory_bytes > self._max_memory_bytes:
            raise self._broken(f"objects of more than {self._max_memory_bytes} bytes")

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self._stack):
            raise self._broken("an empty stack")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _global(self, module: str, name: str) -> Global:
        if is_forbidden(module, name):
            raise self._unsafe(f"{module}.{name}")
        return Global(dotted_name(module, name))

    def _unsafe(self, name: str) -> UnsafeCheckpointError:
        name = name[:200]
        return UnsafeCheckpointError(
            f"{self._where} names {name}, which no checkpoint needs",
            expected="tensors, numbers, text, and classes that hold data",
            found=f"a pickle that would have {name} called when it is loaded",
            cause="the file was made to run code on the machine that opens it; nothing of it was run here",
            next_step="do not open it elsewhere; get the checkpoint from its author",
        )

    def _call(self, function: object, args: object) -> object:
        """What stands for `function(*args)`."""
        if not isinstance(args, tuple):
            raise self._broken("arguments that are no tuple")
        if isinstance(function, Global):
            if function.name == "builtins.getattr":
                return self._nested_class(function.name, args)
            builder = self._builders.get(function.name)
            if builder is None:
                return Opaque(function.name, args)
            self._count(len(args) + sum(_copied(arg) for arg in args))
            return builder(*args)
        if isinstance(function, Opaque):
            return Opaque(function.name, args)
        raise self._broken(f"a call of a {type(function).__name__}")

    def _nested_class(self, name: str, args: tuple[object, ...]) -> Global:
        """What stands for `getattr(Outer, "Inner")`, the only attribute that old protocols have to look up."""
        if len(args) == 2 and isinstance(args[0], Global) and isinstance(args[1], str):
            outer = args[0].name.rpartition(".")[2]
            if args[1].isidentifier() and outer[:1].isupper() and args[1][:1].isupper():
                return Global(f"{args[0].name}.{args[1]}")
        raise self._unsafe(name)

    def _build(self, state: object) -> None:
        """What stands for setting an object's state."""
        target = self._stack[-1]
        if isinstance(target, Opaque):
            target.state = state
        elif not isinstance(target, (dict, Global)) and not hasattr(target, "values"):
            raise self._broken(f"state for a {type(target).__name__}")

    def _extend(self, values: list[object]) -> None:
        target = self._stack[-1]
        before = target.__sizeof__()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(self._key(value) for value in values)
        elif isinstance(target, Opaque):
            target.items = target.items or []
            target.items.extend(values)
        else:
            raise self._broken(f"items for a {type(target).__name__}")
        self._take(target.__sizeof__() - before)

    def _set_items(self, values: list[object]) -> None:
        target = self._stack[-1]
        before = target.__sizeof__()
        if len(values) % 2:
            raise self._broken("a key without a value")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Opaque):
            self._count(len(values) // 2)
            target.items = target.items or []
            target.items.extend(pairs)
        else:
            raise self._broken(f"keys for a {type(target).__name__}")
        self._take(target.__sizeof__() - before)

    def _key(self, key: object) -> Any:
        problem = self._keys.problem(key)
        if problem:
            raise self._broken(problem)
        return key

    def _persist(self, key: object) -> None:
        if self._persistent is None:
            raise self._broken("a reference to something outside")
        self._push(self._persistent(key))

    def _get(self, index: int) -> None:
        self._push(self._memo.get(index))

    def _put(self, index: int) -> None:
        if not 0 <= index < MAX_MEMO_INDEX:
            raise self._broken(f"a memo of {index:.3g} entries")
        self._memo.put(index, self._stack[-1])

    def _op_global(self) -> None:
        module, name = self._bytes.line().decode(), self._bytes.line().decode()
        self._push(self._global(module, name))

    def _op_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise self._broken("a name that is no text")
        self._push(self._global(module, name))

    def _op_inst(self) -> None:
        module, name = self._bytes.line().decode(), self._bytes.line().decode()
        self._push(self._call(self._global(module, name), tuple(self._pop_to_mark())))

    def _op_obj(self) -> None:
        values = self._pop_to_mark()
        self._push(self._call(values[0], tuple(values[1:])))

    def _op_reduce(self) -> None:
        args, function = self._pop(), self._pop()
        self._push(self._call(function, args))

    def _op_newobj_ex(self) -> None:
        kwargs, args, function = self._pop(), self._pop(), self._pop()
        made = self._call(function, args)
        if kwargs and isinstance(made, Opaque):
            made.state = kwargs
        self._push(made)

    def _op_setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _op_append(self) -> None:
        value = self._pop()
        self._extend([value])

    def _op_build(self) -> None:
        state = self._pop()
        self._build(state)

    def _op_pop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _op_mark(self) -> None:
        self._marks.append(len(self._stack))

    def _op_tuple(self, count: int) -> None:
        self._push(tuple(reversed([self._pop() for _ in range(count)])))

    def _op_frozenset(self) -> None:
        self._push(frozenset(self._key(value) for value in self._pop_to_mark()))

    def _op_dict(self) -> None:
        values = self._pop_to_mark()
        self._push({})
        self._set_items(values)


def _copied(arg: object) -> int:
    """What a builder may copy of an argument, in objects."""
    if isinstance(arg, (list, tuple, dict, set, frozenset)):
        return len(arg)
    return len(arg) // BYTES_OF_AN_OBJECT if isinstance(arg, (str, bytes, bytearray)) else 0


STOP = 0x2E

Handler: TypeAlias = Callable[[InertUnpickler], object]
"""What an opcode does; its result is not looked at."""

_HANDLERS: Mapping[int, Handler] = {
    ord("("): InertUnpickler._op_mark,
    ord("0"): InertUnpickler._op_pop,
    ord("1"): lambda self: self._pop_to_mark(),
    ord("2"): lambda self: self._push(self._stack[-1]),
    ord("B"): lambda self: self._push(self._bytes.counted(4)),
    ord("C"): lambda self: self._push(self._bytes.counted(1)),
    ord("F"): lambda self: self._push(self._bytes.float_text()),
    ord("G"): lambda self: self._push(self._bytes.float_bytes()),
    ord("I"): lambda self: self._push(self._bytes.integer_or_bool()),
    ord("J"): lambda self: self._push(self._bytes.signed(4)),
    ord("K"): lambda self: self._push(self._bytes.unsigned(1)),
    ord("L"): lambda self: self._push(self._bytes.integer(self._bytes.line().removesuffix(b"L"))),
    ord("M"): lambda self: self._push(self._bytes.unsigned(2)),
    ord("N"): lambda self: self._push(None),
    ord("P"): lambda self: self._persist(self._bytes.line().decode()),
    ord("Q"): lambda self: self._persist(self._pop()),
    ord("R"): InertUnpickler._op_reduce,
    ord("S"): lambda self: self._push(self._bytes.quoted_line()),
    ord("T"): lambda self: self._push(self._bytes.old_text(self._bytes.signed(4))),
    ord("U"): lambda self: self._push(self._bytes.old_text(self._bytes.unsigned(1))),
    ord("V"): lambda self: self._push(self._bytes.line().decode("raw_unicode_escape")),
    ord("X"): lambda self: self._push(self._bytes.text(4)),
    ord("a"): InertUnpickler._op_append,
    ord("b"): InertUnpickler._op_build,
    ord("c"): InertUnpickler._op_global,
    ord("d"): InertUnpickler._op_dict,
    ord("}"): lambda self: self._push({}),
    ord("e"): lambda self: self._extend(self._pop_to_mark()),
    ord("g"): lambda self: self._get(self._bytes.integer(self._bytes.line())),
    ord("h"): lambda self: self._get(self._bytes.unsigned(1)),
    ord("i"): InertUnpickler._op_inst,
    ord("j"): lambda self: self._get(self._bytes.unsigned(4)),
    ord("l"): lambda self: self._push(self._pop_to_mark()),
    ord("]"): lambda self: self._push([]),
    ord("o"): InertUnpickler._op_obj,
    ord("p"): lambda self: self._put(self._bytes.integer(self._bytes.line())),
    ord("q"): lambda self: self._put(self._bytes.unsigned(1)),
    ord("r"): lambda self: self._put(self._bytes.unsigned(4)),
    ord("s"): InertUnpickler._op_setitem,
    ord("t"): lambda self: self._push(tuple(self._pop_to_mark())),
    ord(")"): lambda self: self._push(()),
    ord("u"): lambda self: self._set_items(self._pop_to_mark()),
    0x80: lambda self: self._bytes.unsigned(1),
    0x81: InertUnpickler._op_reduce,
    0x85: lambda self: self._op_tuple(1),
    0x86: lambda self: self._op_tuple(2),
    0x87: lambda self: self._op_tuple(3),
    0x88: lambda self: self._push(True),
    0x89: lambda self: self._push(False),
    0x8A: lambda self: self._push(self._bytes.long_integer(self._bytes.unsigned(1))),
    0x8B: lambda self: self._push(self._bytes.long_integer(self._bytes.signed(4))),
    0x8C: lambda self: self._push(self._bytes.text(1)),
    0x8D: lambda self: self._push(self._bytes.text(8)),
    0x8E: lambda self: self._push(self._bytes.counted(8)),
    0x8F: lambda self: self._push(set()),
    0x90: lambda self: self._extend(self._pop_to_mark()),
    0x91: InertUnpickler._op_frozenset,
    0x92: InertUnpickler._op_newobj_ex,
    0x93: InertUnpickler._op_stack_global,
    0x94: lambda self: self._put(len(self._memo)),
    0x95: lambda self: self._bytes.unsigned(8),
    0x96: lambda self: self._push(bytearray(self._bytes.counted(8))),
}
"""Left out, and so refused: the extension registry (0x82 to 0x84), and buffers outside the pickle (0x97, 0x98)."""

_PUSHING = frozenset(_HANDLERS) - frozenset(b"(01abeghjpqrsuKN)\x80\x88\x89\x90\x94\x95")
"""Opcodes that push what may be a new object: not one that the pickle, or Python, has already."""

_MAKING = frozenset(b"BRcd}il]opqrt\x81\x85\x86\x87\x8e\x8f\x91\x92\x93\x94\x96")
"""Opcodes that make a container, a call, a name or a memo entry, or keep bytes: what is counted."""
