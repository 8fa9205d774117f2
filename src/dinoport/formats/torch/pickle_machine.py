"""The machine that a pickle is a program for: a stack, marks, a memo, and what is done with them, under limits."""

from collections.abc import Callable, Mapping
from typing import Any

from dinoport.formats.torch.pickle_bytes import PickleBytes
from dinoport.formats.torch.pickle_globals import DOTTED_NAMES_PROTOCOL, MAX_PROTOCOL
from dinoport.formats.torch.pickle_objects import Builder, PickleObjects, kind_of
from dinoport.formats.torch.stand_ins import Global, Opaque

MAX_KEY_PARTS = 32
"""Of a tuple as a key: hashing one walks through all that it holds, each time."""

MAX_COMPOSITE_KEYS = 2_000
"""Tuples as keys in one pickle. Genuine checkpoints have none; ten thousand that collide take two seconds."""

MAX_KEY_INTEGER = 2**63
"""Numbers beyond can be made to collide without end; within, eight at most share a hash."""


class KeyCheck:
    """Judges the keys of one pickle: a key's hash calls nothing and takes a bounded time.

    Text and bytes are hashed with a secret, numbers and tuples without one: a file can choose many that fall on one
    another in a hash table, and each then costs a walk over all before it.
    """

    def __init__(self) -> None:
        self._composite_keys = 0

    def problem(self, key: object) -> str | None:
        """What keeps an object from being a key; None if nothing does."""
        pending, parts = [key], 0
        while pending:
            part = pending.pop()
            parts += 1
            if isinstance(part, (tuple, frozenset)):
                if parts + len(pending) + len(part) > MAX_KEY_PARTS:
                    return f"a tuple of more than {MAX_KEY_PARTS} parts as a key"
                pending += part
            elif isinstance(part, int) and abs(part) > MAX_KEY_INTEGER:
                return "a number of more than 64 bits as a key"
            elif not (part is None or isinstance(part, (str, int, float, bytes, Opaque, Global))):
                return f"a {type(part).__name__} as a key"
        if isinstance(key, (tuple, frozenset)):
            self._composite_keys += 1
            if self._composite_keys > MAX_COMPOSITE_KEYS:
                return f"more than {MAX_COMPOSITE_KEYS} tuples as keys"
        return None


MAX_GAP = 1
"""Numbers that may be left out at once: Python 2 counted from one."""

_NOTHING = object()


class PickleMemo:
    """Objects by their numbers. Picklers count up, so nearly all lie in a list: a tenth of what a dict takes."""

    def __init__(self) -> None:
        self._counted: list[object] = []
        self._others: dict[int, object] = {}
        self._gaps = 0

    def __len__(self) -> int:
        """How many there are, which is the number that the next one gets where the pickle names none."""
        return len(self._counted) - self._gaps + len(self._others)

    def put(self, index: int, value: object) -> None:
        if index in self._others:
            self._others[index] = value
        elif index < len(self._counted):
            self._gaps -= self._counted[index] is _NOTHING
            self._counted[index] = value
        elif index <= len(self._counted) + MAX_GAP:
            gap = index - len(self._counted)
            self._counted += [_NOTHING] * gap
            self._gaps += gap
            self._counted.append(value)
        else:
            self._others[index] = value

    def get(self, index: int) -> object:
        """Raises KeyError for a number that nothing was put under."""
        if not 0 <= index < len(self._counted):
            return self._others[index]
        value = self._counted[index]
        if value is _NOTHING:
            return self._others[index]
        return value


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
    ) -> None:
        self.bytes = unread
        self.stack: list[Any] = []
        self._objects = PickleObjects(where, builders, unread)
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
            raise self.bytes.broken_here("an empty stack")
        return self.stack[-1]

    def pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self.stack):
            raise self.bytes.broken_here("an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def set_protocol(self) -> None:
        self._protocol = self.bytes.unsigned(1)
        if self._protocol > MAX_PROTOCOL:
            raise self.bytes.broken_here(f"protocol {self._protocol}")

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
            raise self.bytes.broken_here(f"items for {kind_of(target)}")
        self.bytes.weigh(target.__sizeof__() - before)

    def set_items(self, values: list[object]) -> None:
        target = self.top
        before = target.__sizeof__()
        if len(values) % 2:
            raise self.bytes.broken_here("a key without a value")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Opaque):
            self.bytes.count(len(values) // 2)
            self._objects.add_items(target, list(pairs))
        else:
            raise self.bytes.broken_here(f"keys for {kind_of(target)}")
        self.bytes.weigh(target.__sizeof__() - before)

    def _key(self, key: object) -> Any:
        problem = self._keys.problem(key)
        if problem:
            raise self.bytes.broken_here(problem)
        return key

    def persist(self, key: object) -> None:
        if self._persistent is None:
            raise self.bytes.broken_here("a reference to something outside")
        self.push(self._persistent(key))

    def get(self, index: int) -> None:
        self.push(self.memo.get(index))

    def put(self, index: int) -> None:
        if not 0 <= index < MAX_MEMO_INDEX:
            raise self.bytes.broken_here(f"a memo of {index:.3g} entries")
        self.memo.put(index, self.top)

    def name_in_lines(self) -> None:
        module, name = self.bytes.line().decode(), self.bytes.line().decode()
        self.push(self._objects.named(module, name, self._protocol))

    def name_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.bytes.broken_here("a name that is not text")
        if "." in name and self._protocol < DOTTED_NAMES_PROTOCOL:
            raise self.bytes.broken_here(f"the dotted name {name[:100]} under protocol {self._protocol}")
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
            raise self.bytes.broken_here("keywords that are not a dict")
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
