"""The machine that a pickle is a program for: a stack, marks, a memo, and what is done with them, under limits.

It builds plain data alone: a name becomes a `Global`, an object of a class that it does not know an `Opaque`, whose
arguments and state can be read. Nothing is imported and nothing called but the builders that it is given.

Each step is understood as torch understands it, or refused, or noted: a call of an unknown class or function may change
whatever it can reach. Filling the attributes of a plain object changes nothing else, so that is not noted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dinoport.errors import CheckpointError
from dinoport.formats.torch.pickle_bytes import PickleBytes
from dinoport.formats.torch.pickle_globals import (
    FORMER_NAMES_PROTOCOL,
    GETATTR,
    MAX_PROTOCOL,
    SAME_MODULES,
    dotted_name,
    is_class,
    is_forbidden,
    is_method,
    is_torch_function,
    torch_function,
    unsafe,
)
from dinoport.formats.torch.pickle_tables import KeyCheck, PickleMemo
from dinoport.formats.torch.stand_ins import Global, Opaque, stand_in
from dinoport.formats.torch.storages import TypedStorage
from dinoport.formats.torch.unknown_steps import UnknownSteps, is_plain
from dinoport.tensor import TensorRef

BYTES_OF_AN_OBJECT = 128
"""What counts as one object where text or bytes are copied."""

MAX_MEMO_INDEX = 2**31
"""Beyond, an index could be chosen to collide with others in a dict's hash table."""

NEW_BY_CALL = frozenset({"torch.nn.parameter.Parameter", "torch.nn.Parameter"})
"""Classes whose `__new__` does all that a call does; that of a container ignores its arguments."""

WITHOUT_ATTRIBUTES = frozenset({"torch.device", "torch.layout", "builtins.object", "numpy.scalar"})
"""Objects of Python's and torch's own that take no state; setting it raises an error there."""

Builder: TypeAlias = Callable[..., object]


class PickleMachine:
    """The state of one pickle that is being read, and the steps that opcodes ask for.

    `bytes` are what is still to be read, `stack` is what waits, `unknown_steps` may change what can be reached from
    the objects beside them. Raises UnsafeCheckpointError for a forbidden global,
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
        self._protocol = 0
        self.unknown_steps = UnknownSteps()
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

    @property
    def top(self) -> Any:
        """What lies on top of the stack, above the last mark."""
        if len(self.stack) <= (self._marks[-1] if self._marks else 0):
            raise self.broken("an empty stack")
        return self.stack[-1]

    def pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self.stack):
            raise self.broken("an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def set_protocol(self) -> None:
        self._protocol = self.bytes.unsigned(1)
        if self._protocol > MAX_PROTOCOL:
            raise self.broken(f"protocol {self._protocol}")

    def _global(self, module: str, name: str) -> Global:
        if is_forbidden(module, name):
            raise unsafe(self._where, f"{module}.{name}")
        if not module or not name or (module in SAME_MODULES and self._protocol > FORMER_NAMES_PROTOCOL):
            raise self.broken(f"the name {module[:100]}.{name[:100]} under protocol {self._protocol}")
        return Global(dotted_name(module, name))

    def _called(self, function: object, args: object) -> object:
        """What stands for `function(*args)`."""
        if not isinstance(args, tuple):
            raise self.broken("arguments that are not a tuple")
        if isinstance(function, Opaque):
            if function.name == GETATTR:
                raise unsafe(self._where, GETATTR)
            return self._unknown(Opaque(function.name, args), function)
        if not isinstance(function, Global):
            raise self.broken(f"a call of a {type(function).__name__}")
        name = function.name
        if name == GETATTR:
            return self._attribute(args)
        if name == "copyreg._reconstructor":
            kind, base, state = args
            if (base, state) == (Global("builtins.object"), None):
                return self._new(kind, ())
        if name == "copyreg.__newobj__":
            return self._new(args[0], args[1:])
        made = self._built(name, args)
        return self._unknown_call(name, args) if made is None else made

    def _new(self, kind: object, args: object) -> object:
        """What stands for `kind.__new__(kind, *args)`."""
        if not isinstance(args, tuple) or not isinstance(kind, Global):
            raise self.broken(f"a new {type(kind).__name__}")
        if not is_class(kind.name) or (kind.name in self._builders and "._" in kind.name):
            raise self.broken(f"a new {kind.name}, which is not a class,")
        if args and kind.name in self._builders and kind.name not in NEW_BY_CALL:
            raise self.broken(f"a new {kind.name} with arguments, which it ignores,")
        made = self._built(kind.name, args)
        return self._unknown(stand_in(kind.name, args)) if made is None else made

    def _built(self, name: str, args: tuple[object, ...]) -> object:
        builder = self._builders.get(name)
        if builder is None:
            return None
        self.count(len(args) + sum(_copied(arg) for arg in args))
        made = builder(*args)
        return self._unknown(made) if isinstance(made, Opaque) and made.is_tensor else made

    def _unknown_call(self, name: str, args: tuple[object, ...]) -> Opaque:
        if is_torch_function(name):
            raise torch_function(self._where, name)
        return self._unknown(stand_in(name, args))

    def _unknown(self, made: Opaque, *others: object) -> Opaque:
        if made.args or others:
            self.unknown_steps.note(f"a call of {made.name[:200]}", made, *others)
        return made

    def _attribute(self, args: tuple[object, ...]) -> Global | Opaque:
        """What stands for `getattr(Outer, "Inner")`, by which old protocols name a class, and for an object's method.

        A method that is kept, as a DataLoader keeps those of its transforms, is data; one that is called is refused.
        """
        owner, name = args if len(args) == 2 else (None, None)
        if isinstance(name, str) and name.isidentifier():
            if isinstance(owner, Global) and owner.name.rpartition(".")[2][:1].isupper() and name[:1].isupper():
                return Global(f"{owner.name}.{name}")
            if isinstance(owner, Opaque) and is_method(owner.name, name):
                return self._unknown(Opaque(GETATTR, args))
        raise unsafe(self._where, GETATTR)

    def _build(self, state: object) -> None:
        """What stands for setting an object's state."""
        target = self.top
        if isinstance(target, Opaque) and target.name in WITHOUT_ATTRIBUTES:
            raise self.broken(f"state for a {target.name}, which has none,")
        if isinstance(target, Opaque) and target.state is None:
            target.state = self._attributes(state)
            if target.is_tensor or target.state is state:
                self.unknown_steps.note(f"the state of {target.name[:200]}", target)
        elif not isinstance(target, OrderedDict) or not _is_metadata(state):
            raise self.broken(f"state for {_kind(target)}")

    def _attributes(self, state: object) -> object:
        """A copy of attributes by their names, which is what an object keeps of a dict; any other state as it is."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        copies: list[dict[object, object] | None] = []
        for part in parts:
            if not (part is None or (isinstance(part, dict) and all(type(key) is str for key in part))):
                return state
            self.count(len(part or ()))
            copies.append(None if part is None else dict(part))
        return tuple(copies) if isinstance(state, tuple) else copies[0]

    def extend(self, values: list[object]) -> None:
        target = self.top
        before = target.__sizeof__()
        if type(target) is list:
            target.extend(values)
        elif isinstance(target, Opaque):
            self._add_items(target, values)
        else:
            raise self.broken(f"items for {_kind(target)}")
        self.take(target.__sizeof__() - before)

    def add(self, values: list[object]) -> None:
        target = self.top
        before = target.__sizeof__()
        if type(target) is set:
            target.update(self._key(value) for value in values)
        elif isinstance(target, Opaque):
            self._add_items(target, values)
        else:
            raise self.broken(f"items for {_kind(target)}")
        self.take(target.__sizeof__() - before)

    def set_items(self, values: list[object]) -> None:
        target = self.top
        before = target.__sizeof__()
        if len(values) % 2:
            raise self.broken("a key without a value")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Opaque):
            self.count(len(values) // 2)
            self._add_items(target, list(pairs))
        else:
            raise self.broken(f"keys for {_kind(target)}")
        self.take(target.__sizeof__() - before)

    def _add_items(self, target: Opaque, values: list[object]) -> None:
        target.items = target.items or []
        target.items += values
        self.unknown_steps.note(f"the items of {target.name[:200]}", target)

    def _key(self, key: object) -> Any:
        problem = self._keys.problem(key)
        if problem:
            raise self.broken(problem)
        return key

    def persist(self, key: object) -> None:
        if self._persistent is None:
            raise self.broken("a reference to something outside")
        self.push(self._persistent(key))

    def persist_line(self) -> None:
        if self._persistent is None:
            raise self.broken("a reference to something outside")
        self.persist(self.bytes.line().decode())

    def get(self, index: int) -> None:
        self.push(self._memo.get(index))

    def put(self, index: int) -> None:
        if not 0 <= index < MAX_MEMO_INDEX:
            raise self.broken(f"a memo of {index:.3g} entries")
        self._memo.put(index, self.top)

    def put_next(self) -> None:
        self.put(len(self._memo))

    def name_in_lines(self) -> None:
        module, name = self.bytes.line().decode(), self.bytes.line().decode()
        self.push(self._global(module, name))

    def name_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.broken("a name that is not text")
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

    def new(self) -> None:
        args, kind = self.pop(), self.pop()
        self.push(self._new(kind, args))

    def new_with_keywords(self) -> None:
        keywords, args, kind = self.pop(), self.pop(), self.pop()
        if not isinstance(keywords, dict) or not isinstance(args, tuple):
            raise self.broken("keywords that are not a dict")
        self.push(self._new(kind, (*args, keywords) if keywords else args))

    def duplicate(self) -> None:
        self.push(self.top)

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


def _kind(target: object) -> str:
    known = {TensorRef: "a tensor", TypedStorage: "a storage", Global: "a class or a function"}
    return known.get(type(target), f"a {type(target).__name__}")


def _is_metadata(state: object) -> bool:
    """Whether this is the attribute that nn.Module.state_dict() gives its dict. Others could stand for its methods."""
    if not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
        return False
    return is_plain(state)
