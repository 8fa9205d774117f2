"""What a pickle's names and objects become here: data that says what it would have been."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dinoport.files.names import short_text


@dataclass(frozen=True, slots=True)
class Global:
    """A name in a pickle: what would be imported by an unpickler that imports."""

    name: str


@dataclass(eq=False, slots=True, repr=False)
class Opaque:
    """A stand-in for an object of a class that nobody imported. `args` built it, `state` was set on it.

    `is_tensor` where it would be a tensor or an array, in a form that is not read here.
    """

    name: str
    args: tuple[object, ...] = ()
    state: object = None
    items: list[object] | None = None
    is_tensor: bool = False

    def __repr__(self) -> str:
        return f"<{self.name}>"


TENSOR_CLASSES = ("Tensor", "Parameter", "Buffer")
ARRAYS = frozenset({
    "numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer", "numpy.memmap", "numpy.ma.core._mareconstruct",
})  # fmt: skip


def stand_in(name: str, args: tuple[object, ...] = ()) -> Opaque:
    """A stand-in for what a call of this name makes."""
    is_tensor = name.startswith("torch.") and name.endswith(TENSOR_CLASSES)
    return Opaque(name, args, is_tensor=is_tensor or name in ARRAYS)


def reached(roots: Iterable[object], seen: set[int]) -> Iterator[object]:
    """Every object that can be reached from these, each once, but for what was `seen` by identity before."""
    pending = list(roots)
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, dict):
            pending += node.keys()
            pending += node.values()
        elif isinstance(node, (list, tuple, set, frozenset)):
            pending += node
        elif isinstance(node, Opaque):
            pending += (node.args, node.state, node.items)


def walked(tree: object, depth: int) -> Iterator[tuple[str, object]]:
    """What lies in the dicts of a file, with the names that lead there joined by dots; each dict is opened once."""
    pending, seen = [("", tree, 0)], set[int]()
    while pending:
        path, node, level = pending.pop()
        yield path, node
        if isinstance(node, dict) and level < depth and id(node) not in seen:
            seen.add(id(node))
            for name, child in node.items():
                text = name if isinstance(name, str) else short_text(name)
                pending.append((f"{path}.{text}" if path else text, child, level + 1))
