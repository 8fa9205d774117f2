"""What a source is and what is in it, whether or not it can be converted."""

from collections.abc import Iterator
from dataclasses import dataclass

from dinoport.finding.listing import Part
from dinoport.mapping.folding import fold_names
from dinoport.report.report import Report, without_numbers
from dinoport.shown.lines import Printed
from dinoport.tensor import TensorRef, dtype_name, shape_text


@dataclass(frozen=True)
class Branch:
    """One state dict in the source. `tensors` are folded by block: names, how many, one dtype and shape."""

    label: str
    count: int
    size_bytes: int
    stripped: tuple[str, ...]
    tensors: tuple[tuple[str, int, str, str], ...]


@dataclass(frozen=True, repr=False)
class Inspection(Printed):
    """`plan` is what a conversion would do; `refusal` why there would be none.

    `parts` are the places that hold a known model, and what else is in the file, by its first names. `commands` are
    what can be done with a folder that is converted already.
    """

    where: str
    format: str
    size_bytes: int
    parts: tuple[Part, ...]
    branches: tuple[Branch, ...]
    plan: Report | None
    refusal: str | None
    commands: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        from dinoport.report.text import inspection_lines

        return inspection_lines(self)

    def to_dict(self) -> dict[str, object]:
        """The inspection as JSON-ready data."""
        found = super().to_dict()
        return {"source": found.pop("where"), **found}


def branch_of(label: str, tensors: dict[str, TensorRef], stripped: tuple[str, ...]) -> Branch:
    """Fold a state dict's tensors: numbered names of one dtype and shape become one line."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, tensor in tensors.items():
        key = (without_numbers(name), dtype_name(tensor.dtype), shape_text(tensor.shape))
        alike.setdefault(key, []).append(name)
    lines = tuple((" ".join(fold_names(names)), len(names), dtype, shape) for (_, dtype, shape), names in alike.items())
    return Branch(label, len(tensors), sum(tensor.size_bytes for tensor in tensors.values()), stripped, lines)
