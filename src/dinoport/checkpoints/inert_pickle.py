"""An unpickler that runs nothing: opcodes are interpreted here, under limits, and globals become stand-ins.

The C unpickler can be made to import, call and allocate gigabytes by a few bytes. This one knows the opcodes of
protocols 0 to 5 as the standard library's `pickletools` documents them, and builds plain data alone: a class that it
does not know becomes an `Opaque`, whose arguments and state can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dinoport.checkpoints.pickle_globals import is_forbidden
from dinoport.errors import CheckpointError, UnsafeCheckpointError

MAX_OPCODES = 20_000_000
"""The training checkpoint of a 7B model with its optimizer takes some hundred thousand."""

MAX_OBJECTS = 2_000_000
"""Objects waiting at once; a dict of all tensors of a 7B model takes a few thousand."""

MAX_INTEGER_BYTES = 1024
"""Of one integer. Random states hold some long ones; Python's own parsing of decimal digits is quadratic."""

MAX_LINE_BYTES = 65_536
"""Of one text line in the text opcodes: names and numbers."""

MAX_KEY_DEPTH = 8
"""Tuples in tuples as a dict's key; hashing recurses in C."""

GETATTR = frozenset({"builtins.getattr", "__builtin__.getattr"})

Builder: TypeAlias = Callable[..., object]


@dataclass(eq=False)
class Opaque:
    """A stand-in for an object of a class that nobody imported. `args` built it, `state` was set on it."""

    name: str
    args: tuple[object, ...] = ()
    state: object = None
    items: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class Global:
    """A name in a pickle: what would be imported by an unpickler that imports."""

    name: str


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
    ) -> None:
        self._data = data
        self._where = where
        self._builders = builders
        self._persistent = persistent
        self.position = position
        self._max_opcodes = max_opcodes
        self._max_objects = max_objects
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def load(self) -> object:
        """Interpret opcodes up to STOP and return the one object that is left."""
        try:
            for _ in range(self._max_opcodes):
                opcode = self._take(1)[0]
                if opcode == 0x2E:
                    return self._pop()
                handler = _HANDLERS.get(opcode)
                if handler is None:
                    raise self._broken(f"opcode {opcode:#04x} at byte {self.position - 1}")
                handler(self)
                if len(self._stack) > self._max_objects or len(self._memo) > self._max_objects:
                    raise self._broken(f"more than {self._max_objects} objects at once")
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
            raise self._broken(f"{type(error).__name__} at byte {self.position}") from error
        raise self._broken(f"more than {self._max_opcodes} opcodes")

    def _broken(self, found: str) -> CheckpointError:
        return CheckpointError(
            f"{self._where} is not a sound pickle",
            found=found,
            cause="a damaged file, a file of another kind, or one that was made to mislead",
            next_step="fetch the file again; a genuine checkpoint comes from torch.save",
        )

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self._data):
            raise self._broken(f"{count} bytes wanted at byte {self.position} of {len(self._data)}")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self.position, self.position + MAX_LINE_BYTES)
        if end < 0:
            raise self._broken(f"a text line without an end at byte {self.position}")
        line = self._data[self.position : end]
        self.position = end + 1
        return line

    def _number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))[0])

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self._stack):
            raise self._broken(f"the stack is empty at byte {self.position}")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _global(self, module: str, name: str) -> Global:
        if is_forbidden(module, name):
            raise self._unsafe(f"{module}.{name}")
        return Global(f"{module}.{name}")

    def _unsafe(self, name: str) -> UnsafeCheckpointError:
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
            raise self._broken(f"arguments that are no tuple at byte {self.position}")
        if isinstance(function, Global):
            if function.name in GETATTR:
                return self._nested_class(function.name, args)
            builder = self._builders.get(function.name)
            return builder(*args) if builder else Opaque(function.name, args)
        if isinstance(function, Opaque):
            return Opaque(function.name, args)
        raise self._broken(f"a call of a {type(function).__name__} at byte {self.position}")

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
            raise self._broken(f"state for a {type(target).__name__} at byte {self.position}")

    def _extend(self, values: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(self._key(value) for value in values)
        elif isinstance(target, Opaque):
            target.items.extend(values)
        else:
            raise self._broken(f"items for a {type(target).__name__} at byte {self.position}")

    def _set_items(self, values: list[object]) -> None:
        target = self._stack[-1]
        if len(values) % 2:
            raise self._broken(f"a key without a value at byte {self.position}")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Opaque):
            target.items.extend(pairs)
        else:
            raise self._broken(f"keys for a {type(target).__name__} at byte {self.position}")

    def _key(self, value: object, depth: int = 0) -> Any:
        """A key that can be hashed without calling anything and without deep recursion."""
        if value is None or isinstance(value, (str, int, float, complex, bytes, Opaque, Global)):
            return value
        if isinstance(value, (tuple, frozenset)) and depth < MAX_KEY_DEPTH:
            for part in value:
                self._key(part, depth + 1)
            return value
        raise self._broken(f"a {type(value).__name__} as a key at byte {self.position}")

    def _persist(self, key: object) -> None:
        if self._persistent is None:
            raise self._broken(f"a reference to something outside at byte {self.position}")
        self._push(self._persistent(key))

    def _text_integer(self, text: bytes) -> int:
        if len(text) > MAX_INTEGER_BYTES:
            raise self._broken(f"an integer of {len(text)} digits at byte {self.position}")
        return int(text)

    def _long(self, count: int) -> None:
        if not 0 <= count <= MAX_INTEGER_BYTES:
            raise self._broken(f"an integer of {count} bytes at byte {self.position}")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _op_int(self) -> None:
        text = self._line()
        self._push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else self._text_integer(text))

    def _op_string(self) -> None:
        text = self._line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise self._broken(f"a string without quotes at byte {self.position}")
        self._push(text[1:-1].decode("unicode_escape"))

    def _op_global(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self._push(self._global(module, name))

    def _op_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise self._broken(f"a name that is no text at byte {self.position}")
        self._push(self._global(module, name))

    def _op_inst(self) -> None:
        module, name = self._line().decode(), self._line().decode()
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

    def _refuse(self) -> None:
        raise self._broken(f"an opcode that checkpoints do not use at byte {self.position - 1}")


Handler: TypeAlias = Callable[[InertUnpickler], object]
"""What an opcode does; its result is not looked at."""

_HANDLERS: Mapping[int, Handler] = {
    ord("("): InertUnpickler._op_mark,
    ord("0"): InertUnpickler._op_pop,
    ord("1"): lambda self: self._pop_to_mark(),
    ord("2"): lambda self: self._push(self._stack[-1]),
    ord("F"): lambda self: self._push(float(self._line())),
    ord("I"): InertUnpickler._op_int,
    ord("J"): lambda self: self._push(self._number("i")),
    ord("K"): lambda self: self._push(self._number("B")),
    ord("L"): lambda self: self._push(self._text_integer(self._line().removesuffix(b"L"))),
    ord("M"): lambda self: self._push(self._number("H")),
    ord("N"): lambda self: self._push(None),
    ord("P"): lambda self: self._persist(self._line().decode()),
    ord("Q"): lambda self: self._persist(self._pop()),
    ord("R"): InertUnpickler._op_reduce,
    ord("S"): InertUnpickler._op_string,
    ord("T"): lambda self: self._push(self._take(self._number("i")).decode("latin-1")),
    ord("U"): lambda self: self._push(self._take(self._number("B")).decode("latin-1")),
    ord("V"): lambda self: self._push(self._line().decode("raw_unicode_escape")),
    ord("X"): lambda self: self._push(self._take(self._number("I")).decode("utf-8", "surrogatepass")),
    ord("a"): InertUnpickler._op_append,
    ord("b"): InertUnpickler._op_build,
    ord("c"): InertUnpickler._op_global,
    ord("d"): InertUnpickler._op_dict,
    ord("}"): lambda self: self._push({}),
    ord("e"): lambda self: self._extend(self._pop_to_mark()),
    ord("g"): lambda self: self._get(self._text_integer(self._line())),
    ord("h"): lambda self: self._get(self._number("B")),
    ord("i"): InertUnpickler._op_inst,
    ord("j"): lambda self: self._get(self._number("I")),
    ord("l"): lambda self: self._push(self._pop_to_mark()),
    ord("]"): lambda self: self._push([]),
    ord("o"): InertUnpickler._op_obj,
    ord("p"): lambda self: self._put(self._text_integer(self._line())),
    ord("q"): lambda self: self._put(self._number("B")),
    ord("r"): lambda self: self._put(self._number("I")),
    ord("s"): InertUnpickler._op_setitem,
    ord("t"): lambda self: self._push(tuple(self._pop_to_mark())),
    ord(")"): lambda self: self._push(()),
    ord("u"): lambda self: self._set_items(self._pop_to_mark()),
    ord("G"): lambda self: self._push(struct.unpack(">d", self._take(8))[0]),
    0x80: lambda self: self._number("B"),
    0x81: InertUnpickler._op_reduce,
    0x82: InertUnpickler._refuse,
    0x83: InertUnpickler._refuse,
    0x84: InertUnpickler._refuse,
    0x85: lambda self: self._op_tuple(1),
    0x86: lambda self: self._op_tuple(2),
    0x87: lambda self: self._op_tuple(3),
    0x88: lambda self: self._push(True),
    0x89: lambda self: self._push(False),
    0x8A: lambda self: self._long(self._number("B")),
    0x8B: lambda self: self._long(self._number("i")),
    0x8C: lambda self: self._push(self._take(self._number("B")).decode("utf-8", "surrogatepass")),
    0x8D: lambda self: self._push(self._take(self._number("Q")).decode("utf-8", "surrogatepass")),
    0x8E: lambda self: self._push(self._take(self._number("Q"))),
    0x8F: lambda self: self._push(set()),
    0x90: lambda self: self._extend(self._pop_to_mark()),
    0x91: InertUnpickler._op_frozenset,
    0x92: InertUnpickler._op_newobj_ex,
    0x93: InertUnpickler._op_stack_global,
    0x94: lambda self: self._put(len(self._memo)),
    0x95: lambda self: self._number("Q"),
    0x96: lambda self: self._push(bytearray(self._take(self._number("Q")))),
    0x97: InertUnpickler._refuse,
    0x98: InertUnpickler._refuse,
    ord("B"): lambda self: self._push(self._take(self._number("I"))),
    ord("C"): lambda self: self._push(self._take(self._number("B"))),
}
