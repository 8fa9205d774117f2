"""The machine that a pickle is a program for: a stack, marks, a memo, and what is done with them, under limits.

It builds plain data alone: a name becomes a `Global`, an object of a class that it does not know an `Opaque`, whose
arguments and state can be read. Nothing is imported and nothing called but the builders that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.formats.torch.pickle_bytes import PickleBytes
from dinoport.formats.torch.pickle_globals import dotted_name, is_forbidden
from dinoport.formats.torch.pickle_keys import KeyCheck
from dinoport.formats.torch.pickle_memo import PickleMemo
from dinoport.formats.torch.stand_ins import Global, Opaque

BYTES_OF_AN_OBJECT = 128
"""What counts as one object where text or bytes are copied."""

MAX_MEMO_INDEX = 2**31
"""Beyond, an index could be chosen to collide with others in a dict's hash table."""

Builder: TypeAlias = Callable[..., object]


class PickleMachine:
    """The state of one pickle that is being read, and the steps that opcodes ask for.

    `bytes` are what is still to be read, `stack` is what waits. Raises UnsafeCheckpointError for a forbidden global,
    CheckpointError for what no sound pickle does, and any error of Python's own for a step that does not fit.
    """

    def __init__(
        self,
        unread: PickleBytes,
        where: str,
        builders: Mapping[str, Builder],
        persistent: Callable[[object], object] | None,
        max_objects: int,
        max_memory_bytes: int | None,
    ) -> None:
        self.bytes = unread
        self.stack: list[Any] = []
        self._where = where
        self._builders = builders
        self._persistent = persistent
        self._max_objects = self._objects_left = max_objects
        self._max_memory_bytes, self._memory_bytes = max_memory_bytes, 0
        self._keys = KeyCheck()
        self._marks: list[int] = []
        self._memo = PickleMemo()

    def broken(self, found: str) -> CheckpointError:
        return self.bytes.broken(f"{found} at byte {self.bytes.position}")

    def count(self, objects: int) -> None:
        """Count what is made against what a checkpoint can need."""
        self._objects_left -= objects
        if self._objects_left < 0:
            raise self.broken(f"more than {self._max_objects} objects")

    def take(self, size_bytes: int) -> None:
        """Count what objects take of memory, where that is limited too."""
        self._memory_bytes += size_bytes
        if self._max_memory_bytes is not None and self._memory_bytes > self._max_memory_bytes:
            raise self.broken(f"objects of more than {self._max_memory_bytes} bytes")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self.stack):
            raise self.broken("an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
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

    def _called(self, function: object, args: object) -> object:
        """What stands for `function(*args)`."""
        if not isinstance(args, tuple):
            raise self.broken("arguments that are no tuple")
        if isinstance(function, Global):
            if function.name == "builtins.getattr":
                return self._nested_class(function.name, args)
            builder = self._builders.get(function.name)
            if builder is None:
                return Opaque(function.name, args)
            self.count(len(args) + sum(_copied(arg) for arg in args))
            return builder(*args)
        if isinstance(function, Opaque):
            return Opaque(function.name, args)
        raise self.broken(f"a call of a {type(function).__name__}")

    def _nested_class(self, name: str, args: tuple[object, ...]) -> Global:
        """What stands for `getattr(Outer, "Inner")`, the only attribute that old protocols have to look up."""
        if len(args) == 2 and isinstance(args[0], Global) and isinstance(args[1], str):
            outer = args[0].name.rpartition(".")[2]
            if args[1].isidentifier() and outer[:1].isupper() and args[1][:1].isupper():
                return Global(f"{args[0].name}.{args[1]}")
        raise self._unsafe(name)

    def _build(self, state: object) -> None:
        """What stands for setting an object's state."""
        target = self.stack[-1]
        if isinstance(target, Opaque):
            target.state = state
        elif not isinstance(target, (dict, Global)) and not hasattr(target, "values"):
            raise self.broken(f"state for a {type(target).__name__}")

    def extend(self, values: list[object]) -> None:
        target = self.stack[-1]
        before = target.__sizeof__()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(self._key(value) for value in values)
        elif isinstance(target, Opaque):
            target.items = target.items or []
            target.items.extend(values)
        else:
            raise self.broken(f"items for a {type(target).__name__}")
        self.take(target.__sizeof__() - before)

    def set_items(self, values: list[object]) -> None:
        target = self.stack[-1]
        before = target.__sizeof__()
        if len(values) % 2:
            raise self.broken("a key without a value")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Opaque):
            self.count(len(values) // 2)
            target.items = target.items or []
            target.items.extend(pairs)
        else:
            raise self.broken(f"keys for a {type(target).__name__}")
        self.take(target.__sizeof__() - before)

    def _key(self, key: object) -> Any:
        problem = self._keys.problem(key)
        if problem:
            raise self.broken(problem)
        return key

    def persist(self, key: object) -> None:
        if self._persistent is None:
            raise self.broken("a reference to something outside")
        self.push(self._persistent(key))

    def get(self, index: int) -> None:
        self.push(self._memo.get(index))

    def put(self, index: int) -> None:
        if not 0 <= index < MAX_MEMO_INDEX:
            raise self.broken(f"a memo of {index:.3g} entries")
        self._memo.put(index, self.stack[-1])

    def put_next(self) -> None:
        self.put(len(self._memo))

    def name_in_lines(self) -> None:
        module, name = self.bytes.line().decode(), self.bytes.line().decode()
        self.push(self._global(module, name))

    def name_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.broken("a name that is no text")
        self.push(self._global(module, name))

    def call_name_in_lines(self) -> None:
        module, name = self.bytes.line().decode(), self.bytes.line().decode()
        self.push(self._called(self._global(module, name), tuple(self.pop_to_mark())))

    def call_to_mark(self) -> None:
        values = self.pop_to_mark()
        self.push(self._called(values[0], tuple(values[1:])))

    def call(self) -> None:
        args, function = self.pop(), self.pop()
        self.push(self._called(function, args))

    def call_with_keywords(self) -> None:
        kwargs, args, function = self.pop(), self.pop(), self.pop()
        made = self._called(function, args)
        if kwargs and isinstance(made, Opaque):
            made.state = kwargs
        self.push(made)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self) -> None:
        value = self.pop()
        self.extend([value])

    def set_state(self) -> None:
        state = self.pop()
        self._build(state)

    def discard(self) -> None:
        if self._marks and self._marks[-1] == len(self.stack):
            self._marks.pop()
        else:
            self.pop()

    def mark(self) -> None:
        self._marks.append(len(self.stack))

    def make_tuple(self, count: int) -> None:
        self.push(tuple(reversed([self.pop() for _ in range(count)])))

    def make_frozenset(self) -> None:
        self.push(frozenset(self._key(value) for value in self.pop_to_mark()))

    def make_dict(self) -> None:
        values = self.pop_to_mark()
        self.push({})
        self.set_items(values)


def _copied(arg: object) -> int:
    """What a builder may copy of an argument, in objects."""
    if isinstance(arg, (list, tuple, dict, set, frozenset)):
        return len(arg)
    return len(arg) // BYTES_OF_AN_OBJECT if isinstance(arg, (str, bytes, bytearray)) else 0
