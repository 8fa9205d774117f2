"""What the names, calls and states of a pickle become: plain data, or a stand-in.

Nothing is imported, and nothing called but the builders that are given.

Each step is understood as torch understands it, or refused, or noted: a call of an unknown class or function may change
whatever it can reach. Filling the attributes of a plain object changes nothing else, so that is not noted.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeAlias

from dinoport.formats.torch.pickle_bytes import PickleBytes
from dinoport.formats.torch.pickle_globals import (
    FORMER_NAMES_PROTOCOL,
    GETATTR,
    SAME_MODULES,
    dotted_name,
    is_class,
    is_forbidden,
    is_method,
    is_torch_function,
    torch_function,
    unsafe,
)
from dinoport.formats.torch.stand_ins import Global, Opaque, stand_in
from dinoport.formats.torch.storages import TypedStorage, UnknownSteps, is_plain
from dinoport.tensor import TensorRef

BYTES_OF_AN_OBJECT = 128
"""What counts as one object where text or bytes are copied."""

NEW_BY_CALL = frozenset({"torch.nn.parameter.Parameter", "torch.nn.Parameter"})
"""Classes whose `__new__` does all that a call does; that of a container ignores its arguments."""

WITHOUT_ATTRIBUTES = frozenset({"torch.device", "torch.layout", "builtins.object", "numpy.scalar"})
"""Objects of Python's and torch's own that take no state; setting it raises an error there."""

Builder: TypeAlias = Callable[..., object]


class PickleObjects:
    """The objects of one pickle. `unknown_steps` may change what can be reached from the objects beside them.

    Raises UnsafeCheckpointError for a forbidden global, CheckpointError for what no sound pickle does.
    """

    def __init__(self, where: str, builders: Mapping[str, Builder], unread: PickleBytes) -> None:
        self._where = where
        self._builders = builders
        self._unread = unread
        self.unknown_steps = UnknownSteps()

    def named(self, module: str, name: str, protocol: int) -> Global:
        """What stands for a name, in a pickle of this protocol."""
        if is_forbidden(module, name):
            raise unsafe(self._where, f"{module}.{name}")
        if not module or not name or (module in SAME_MODULES and protocol > FORMER_NAMES_PROTOCOL):
            raise self._unread.broken_here(f"the name {module[:100]}.{name[:100]} under protocol {protocol}")
        return Global(dotted_name(module, name))

    def called(self, function: object, args: object) -> object:
        """What stands for `function(*args)`."""
        if not isinstance(args, tuple):
            raise self._unread.broken_here("arguments that are not a tuple")
        if isinstance(function, Opaque):
            if function.name == GETATTR:
                raise unsafe(self._where, GETATTR)
            return self._unknown(Opaque(function.name, args), function)
        if not isinstance(function, Global):
            raise self._unread.broken_here(f"a call of a {type(function).__name__}")
        name = function.name
        if name == GETATTR:
            return self._attribute(args)
        if name == "copyreg._reconstructor":
            kind, base, state = args
            if isinstance(kind, Global) and kind != base and kind.name in self._builders:
                raise self._unread.broken_here(f"a new {kind.name} by a class that is not its own,")
            if (base, state) == (Global("builtins.object"), None):
                return self.new(kind, ())
        if name == "copyreg.__newobj__":
            return self.new(args[0], args[1:])
        made = self._built(name, args)
        return self._unknown_call(name, args) if made is None else made

    def new(self, kind: object, args: object) -> object:
        """What stands for `kind.__new__(kind, *args)`."""
        if not isinstance(args, tuple) or not isinstance(kind, Global):
            raise self._unread.broken_here(f"a new {type(kind).__name__}")
        if not is_class(kind.name) or (kind.name in self._builders and "._" in kind.name):
            raise self._unread.broken_here(f"a new {kind.name}, which is not a class,")
        if args and kind.name in self._builders and kind.name not in NEW_BY_CALL:
            raise self._unread.broken_here(f"a new {kind.name} with arguments, which it ignores,")
        made = self._built(kind.name, args)
        return self._unknown(stand_in(kind.name, args)) if made is None else made

    def _built(self, name: str, args: tuple[object, ...]) -> object:
        builder = self._builders.get(name)
        if builder is None:
            return None
        self._unread.count(len(args) + sum(_copied(arg) for arg in args))
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

    def set_state(self, target: object, state: object) -> None:
        """What stands for setting an object's state."""
        if isinstance(target, Opaque) and target.name in WITHOUT_ATTRIBUTES:
            raise self._unread.broken_here(f"state for a {target.name}, which has none,")
        if isinstance(target, Opaque) and target.state is None:
            target.state = self._attributes(state)
            if target.is_tensor or target.state is state:
                self.unknown_steps.note(f"the state of {target.name[:200]}", target)
        elif not isinstance(target, OrderedDict) or not _is_metadata(state):
            raise self._unread.broken_here(f"state for {kind_of(target)}")

    def _attributes(self, state: object) -> object:
        """A copy of attributes by their names, which is what an object keeps of a dict; any other state as it is."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        copies: list[dict[object, object] | None] = []
        for part in parts:
            if not (part is None or (isinstance(part, dict) and all(type(key) is str for key in part))):
                return state
            self._unread.count(len(part or ()))
            copies.append(None if part is None else dict(part))
        return tuple(copies) if isinstance(state, tuple) else copies[0]

    def add_items(self, target: Opaque, values: list[object]) -> None:
        target.items = target.items or []
        target.items += values
        self.unknown_steps.note(f"the items of {target.name[:200]}", target)


def _copied(arg: object) -> int:
    """What a builder may copy of an argument, in objects."""
    if isinstance(arg, (list, tuple, dict, set, frozenset)):
        return len(arg)
    return len(arg) // BYTES_OF_AN_OBJECT if isinstance(arg, (str, bytes, bytearray)) else 0


def kind_of(target: object) -> str:
    known = {TensorRef: "a tensor", TypedStorage: "a storage", Global: "a class or a function"}
    return known.get(type(target), f"a {type(target).__name__}")


def _is_metadata(state: object) -> bool:
    """Whether this is the attribute that nn.Module.state_dict() gives its dict. Others could stand for its methods."""
    if not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
        return False
    return is_plain(state)
