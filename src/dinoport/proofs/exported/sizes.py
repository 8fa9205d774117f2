"""At which sizes a graph is looked at: its own, or some of those that it says to take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isqrt

from dinoport.exports.graph import Input
from dinoport.networks.network import Architecture
from dinoport.tensor import TensorRef

Size = tuple[int, int]

MAX_TRIED = 8
"""How many sizes are tried that a table in the file may be of."""

MAX_BATCH = 64

ANY_NUMBER = 2
"""How many pictures a graph for any number of them is given at once, so that one that mixes them is seen."""


@dataclass(frozen=True)
class Sizes:
    """`main` is compared in full, `others` are two more of a graph that takes any; `batch` is how many pictures.

    `any_number` says that the graph takes as many as it is given.
    """

    main: Size
    others: tuple[Size, ...]
    batch: int
    any_number: bool = False


def refused(picture: Input | None, architecture: Architecture) -> str | None:
    """Why a graph cannot be given a picture; None where it can."""
    if picture is None:
        return "it does not take one picture alone"
    sizes = picture.sizes or ()
    if len(sizes) != 4:
        return f"it takes {picture.name} of {len(sizes)} axes, where pictures have four"
    batch, channels = sizes[:2]
    if isinstance(channels, int) and channels != architecture.channels:
        return f"it takes {channels} channels, the original {architecture.channels}"
    if isinstance(batch, int) and not 1 <= batch <= MAX_BATCH:
        return f"it takes {batch} pictures at once, where up to {MAX_BATCH} are tried"
    if any(isinstance(side, int) and not 1 <= side <= 4096 for side in sizes[2:]):
        return f"it takes pictures of {sizes[2]}×{sizes[3]} pixels"
    return None


def sizes_of(picture: Input, architecture: Architecture, image_size: int) -> Sizes:
    """The sizes of a graph that `refused` lets pass; `image_size` is the model's own."""
    batch, _, rows, columns = picture.sizes or (1, 0, 0, 0)
    height = rows if isinstance(rows, int) else image_size
    width = columns if isinstance(columns, int) else image_size
    main = height, width
    cell = architecture.cell
    count = max(image_size // cell, 2)
    larger, smaller = (count + max(count // 3, 1)) * cell, max(count - max(count // 4, 1), 1) * cell
    others = [
        (rows if isinstance(rows, int) else up, columns if isinstance(columns, int) else across)
        for up, across in ((larger, larger), (image_size, smaller))
    ]
    if isinstance(rows, str) and rows == columns:  # one name for both: squares alone
        others = [(larger, larger), (smaller, smaller)]
    kept = tuple(dict.fromkeys(size for size in others if size != main))
    if isinstance(batch, int):
        return Sizes(main, kept, batch)
    return Sizes(main, kept, ANY_NUMBER, any_number=True)


def sizes_of_tables(constants: Mapping[str, TensorRef], architecture: Architecture) -> Iterator[Size]:
    """Sizes that a position table in the file may have been made for, the squarest first."""
    table = getattr(architecture, "width", 0)
    for tensor in constants.values():
        shape = tuple(size for size in tensor.shape if size != 1)
        if not tensor.is_float or len(shape) != 2 or shape[1] != table or len(tensor.shape) < 3:
            continue
        patches = shape[0] - 1
        sides = [side for side in range(isqrt(max(patches, 0)), 0, -1) if patches % side == 0][:MAX_TRIED]
        for side in sides:
            for rows, columns in ((side, patches // side), (patches // side, side)):
                yield rows * architecture.cell, columns * architecture.cell
