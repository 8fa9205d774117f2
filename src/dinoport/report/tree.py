"""The parts of a file as a tree of their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dinoport.shown.text import counted
from dinoport.tensor import size_text

if TYPE_CHECKING:
    from dinoport.finding.listing import Part

FORK, LAST, BAR, BLANK = "├─ ", "└─ ", "│  ", "   "


class TreeLine(NamedTuple):
    """A line of the tree, and what stands below it in front of more of the same."""

    line: str
    below: str


@dataclass
class _Node:
    part: Part | None = None
    children: dict[str, _Node] = field(default_factory=dict)


def tree_of(parts: Sequence[Part]) -> Iterator[tuple[TreeLine, Part | None]]:
    """Every part with its line, and a line for what several of them lie in."""
    root = _Node()
    for part in parts:
        node = root
        for name in filter(None, part.prefix.rstrip(".").split(".")):
            node = node.children.setdefault(name, _Node())
        node.part = part
    if root.part:
        yield TreeLine("the file itself", BAR if root.children else BLANK), root.part
    yield from _below(root, "")


def _below(node: _Node, indent: str) -> Iterator[tuple[TreeLine, Part | None]]:
    for place, (name, child) in enumerate(node.children.items(), 1):
        while child.part is None and len(child.children) == 1:  # a name in which nothing else lies
            ((inner, child),) = child.children.items()
            name = f"{name}.{inner}"
        is_last = place == len(node.children)
        below = indent + (BLANK if is_last else BAR)
        yield TreeLine(f"{indent}{LAST if is_last else FORK}{name}", below), child.part
        yield from _below(child, below)


def text_of(part: Part) -> str:
    """What a part is, how many tensors, and their size."""
    what = f"{part.what}, under the names of {part.names}" if part.names else part.what
    return f": {what}, {counted(part.count, 'tensor')}, {size_text(part.size_bytes)}"
