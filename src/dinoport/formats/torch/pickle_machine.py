"""The machine that a pickle is a program for: a stack, marks, a memo, and what is done with them, under limits."""

from collections.abc import Callable, Mapping
from typing import Any

from dinoport.formats.torch.pickle_bytes import PickleBytes, PickleLimits
from dinoport.formats.torch.pickle_globals import DOTTED_NAMES_PROTOCOL, MAX_PROTOCOL
from dinoport.formats.torch.pickle_objects import Builder, PickleObjects, kind_of
from dinoport.formats.torch.pickle_tables import KeyCheck, PickleMemo
from dinoport.formats.torch.stand_ins import Opaque

MAX_MEMO_INDEX = 2**31
"""Beyond, an index could be chosen to collide with others in a dict's hash table."""


class PickleMachine:
    """The state of one pickle that is being read, and the steps that opcodes ask for.

    `bytes` are what is still to be read, `stack` is what waits, `memo` what was put aside. Raises UnsafeCheckpointError
    for a forbidden global, CheckpointError for what no sound pickle does, and any error of Python's own for a step that
    does not fit.
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
        self.limits = PickleLimits(unread, max_objects, max_memory_bytes)
        self._objects = PickleObjects(where, builders, self.limits)
        self.unknown_steps = self._objects.unknown_steps
        self._persistent = persistent
        self._keys = KeyCheck()
        self._marks: list[int] = []
        self._protocol = 0
        self.memo = PickleMemo()

    def push(self, value: object) -> None:
        self.stack.append(value)

    @property
    def top(self) -> Any:
        """What lies on top of the stack, above the last mark."""
        if len(self.stack) <= (self._marks[-1] if self._marks else 0):
            raise self.limits.broken("an empty stack")
        return self.stack[-1]

    def pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self.stack):
            raise self.limits.broken("an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def set_protocol(self) -> None:
        self._protocol = self.bytes.unsigned(1)
        if self._protocol > MAX_PROTOCOL:
            raise self.limits.broken(f"protocol {self._protocol}")

    def extend(self, values: list[object]) -> None:
        self._fill(list, values, lambda target: target.extend(values))

    def add(self, values: list[object]) -> None:
        self._fill(set, values, lambda target: target.update(self._key(value) for value in values))

    def _fill(self, kind: type, values: list[object], put: Callable[[Any], None]) -> None:
        """Put values into the container of this kind that lies on top, or note them of an object."""
        target = self.top
        before = target.__sizeof__()
        if type(target) is kind:
            put(target)
        elif isinstance(target, Opaque):
            self._objects.add_items(target, values)
        else:
            raise self.limits.broken(f"items for {kind_of(target)}")
        self.limits.take(target.__sizeof__() - before)

    def set_items(self, values: list[object]) -> None:
        target = self.top
        before = target.__sizeof__()
        if len(values) % 2:
            raise self.limits.broken("a key without a value")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Opaque):
            self.limits.count(len(values) // 2)
            self._objects.add_items(target, list(pairs))
        else:
            raise self.limits.broken(f"keys for {kind_of(target)}")
        self.limits.take(target.__sizeof__() - before)

    def _key(self, key: object) -> Any:
        problem = self._keys.problem(key)
        if problem:
            raise self.limits.broken(problem)
        return key

    def persist(self, key: object) -> None:
        if self._persistent is None:
            raise self.limits.broken("a reference to something outside")
        self.push(self._persistent(key))

    def persist_line(self) -> None:
        self.persist(self.bytes.line().decode())

    def get(self, index: int) -> None:
        self.push(self.memo.get(index))

    def put(self, index: int) -> None:
        if not 0 <= index < MAX_MEMO_INDEX:
            raise self.limits.broken(f"a memo of {index:.3g} entries")
        self.memo.put(index, self.top)

    def name_in_lines(self) -> None:
        module, name = self.bytes.line().decode(), self.bytes.line().decode()
        self.push(self._objects.named(module, name, self._protocol))

    def name_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.limits.broken("a name that is not text")
        if "." in name and self._protocol < DOTTED_NAMES_PROTOCOL:
            raise self.limits.broken(f"the dotted name {name[:100]} under protocol {self._protocol}")
        self.push(self._objects.named(module, name, self._protocol))

    def call_name_in_lines(self) -> None:
        module, name = self.bytes.line().decode(), self.bytes.line().decode()
        self.push(self._objects.called(self._objects.named(module, name, self._protocol), tuple(self.pop_to_mark())))

    def call_to_mark(self) -> None:
        values = self.pop_to_mark()
        self.push(self._objects.called(values[0], tuple(values[1:])))

    def call(self) -> None:
        args, function = self.pop(), self.pop()
        self.push(self._objects.called(function, args))

    def new(self) -> None:
        args, kind = self.pop(), self.pop()
        self.push(self._objects.new(kind, args))

    def new_with_keywords(self) -> None:
        keywords, args, kind = self.pop(), self.pop(), self.pop()
        if not isinstance(keywords, dict) or not isinstance(args, tuple):
            raise self.limits.broken("keywords that are not a dict")
        self.push(self._objects.new(kind, (*args, keywords) if keywords else args))

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def set_state(self) -> None:
        state = self.pop()
        self._objects.set_state(self.top, state)

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
