"""What a converted model sees, as files: attention by head, masks, and the principal components of its patches."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinoport.errors import FolderError
from dinoport.files.disk_errors import disk_errors
from dinoport.pictures.images import Components, brightest, heat, png
from dinoport.pictures.seeing import Seen
from dinoport.shown.lines import Printed, entry
from dinoport.shown.text import counted
from dinoport.tensor import Array
from dinoport.writing.commit import write_whole

DIMMED = 0.25
"""How bright a picture stays outside of a mask."""


EDGE_COLOUR, EDGE_PIXELS = (255, 214, 10), 2
"""Of the line around a mask: yellow, which few pictures are at such a line."""

SOFTWARE = "dinoport"
"""What every picture says that it was drawn by."""

MARK = b"tEXtSoftware\0" + SOFTWARE.encode()
MARKED_WITHIN_BYTES = 256
"""Where the mark is looked for: it stands before the pixels."""

NAMES = re.compile(r"(picture|pca|(attention|mask)-(mean|head-\d+))\.png")


@dataclass(frozen=True, repr=False)
class Visualization(Printed):
    """The files that were written, by their names in `folder`, for a picture of (height, width) pixels."""

    folder: Path
    files: tuple[str, ...]
    size: tuple[int, int]
    heads: int
    mass: float
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        height, width = self.size
        yield from entry("folder", str(self.folder))
        yield from entry("", f"{counted(len(self.files), 'picture')} of {width}×{height} pixels")
        yield from entry("picture", "picture.png: what the model saw")
        if self.heads:
            yield from entry(
                "attention",
                f"attention-mean.png, attention-head-… of {counted(self.heads, 'head')}: the CLS token's, last block",
            )
            yield from entry("masks", f"mask-mean.png, mask-head-…: the patches that hold {self.mass:.0%} of it")
        if "pca.png" in self.files:
            yield from entry(
                "components", "pca.png: the three directions in which patches differ most, as red, green, blue"
            )
        for note in self.notes:
            yield from entry("note", note)


def draw(seen: Seen, folder: Path, mass: float) -> Visualization:
    """Write every picture into `folder`, over files of the same names, all or none. The least attention is dark,
    the largest bright: without the few patches that outshine the rest.

    Raises FolderError, before anything is written, where `folder` is not a folder or a picture's name there is a link.
    """
    pictures: dict[str, Array] = {"picture.png": seen.picture}
    if seen.attention is not None:
        digits = len(str(len(seen.attention) - 1))
        pictures["attention-mean.png"] = _attention(seen.attention.mean(axis=0), seen.cell)
        for head, attention in enumerate(seen.attention):
            pictures[f"attention-head-{head:0{digits}}.png"] = _attention(attention, seen.cell)
        pictures["mask-mean.png"] = _masked(seen, holding(seen.attention.mean(axis=0), mass))
        for head, attention in enumerate(seen.attention):
            pictures[f"mask-head-{head:0{digits}}.png"] = _masked(seen, holding(attention, mass))
    if min(seen.patches.shape[0] * seen.patches.shape[1], seen.patches.shape[2]) >= 3:
        pictures["pca.png"] = _enlarged(Components.of(seen.patches).colours(seen.patches), seen.cell)
    _refuse_links(folder, pictures)
    write_whole({folder / name: png(colours, SOFTWARE) for name, colours in pictures.items()})
    heads = 0 if seen.attention is None else len(seen.attention)
    return Visualization(folder, tuple(pictures), seen.picture.shape[:2], heads, mass, tuple(_notes(seen)))


def check_place(folder: Path) -> None:
    """Before any work: raise FolderError for a folder that cannot be written, or where pictures of others are named so.

    It need not exist. What it holds under other names is left alone.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    with disk_errors(folder):
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        named = sorted(path for path in folder.iterdir() if NAMES.fullmatch(path.name)) if there == folder else []
    _refuse_links(folder, [path.name for path in named])
    foreign = [path.name for path in named if path.is_file() and not _is_ours(path)]
    _refuse(folder, foreign, "was not drawn by dinoport, and a picture might be written over it", "move it away")


def _is_ours(path: Path) -> bool:
    with disk_errors(path), path.open("rb") as file:
        return MARK in file.read(MARKED_WITHIN_BYTES)


def _refuse(folder: Path, names: Sequence[str], why: str, mend: str) -> None:
    if names:
        raise FolderError(
            f"{names[0]} {why}",
            where=str(folder / names[0]),
            found=f"{len(names)} such files" if len(names) > 1 else None,
            next_step=f"{mend}, or choose another folder with `out`",
        )


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """What a link leads to is not a picture of ours to write over."""
    links = [name for name in names if (folder / name).is_symlink()]
    _refuse(folder, links, "is a link, and a picture would be written over what it leads to", "remove it")


def _notes(seen: Seen) -> list[str]:
    notes = []
    if seen.attention is None:
        notes.append(f"a {seen.model_type} has no attention: only the components of its feature map are drawn")
    else:
        above = [brightest(head - head.min())[1] for head in (*seen.attention, seen.attention.mean(axis=0))]
        if any(above):
            notes.append(
                f"in {sum(map(bool, above))} of {len(above)} maps a few patches outshine the rest: they are drawn as "
                "bright as the next"
            )
    if seen.resampled:
        whose = f"by the rule of {seen.library}"
        notes.append(f"positions were resampled {whose}: README.md says whether it is the original's")
    return notes


def _attention(attention: Array, cell: int) -> Array:
    attention = attention - attention.min()
    return _enlarged(heat(attention, brightest(attention)[0]), cell)


def _masked(seen: Seen, mask: Array) -> Array:
    """The picture, dimmed outside of the mask, with a line around it: in a dark picture dimming is hardly seen."""
    inside = _enlarged(mask, seen.cell)
    drawn: Array = np.round(seen.picture * np.where(inside, 1.0, DIMMED)[..., None]).astype(np.uint8)
    drawn[_edge(inside)] = EDGE_COLOUR
    return drawn


def _edge(inside: Array) -> Array:
    """The pixels of a mask beside its end, along a line of EDGE_PIXELS; the picture's border is not an end."""
    rows, columns = inside.shape
    padded = np.pad(inside, EDGE_PIXELS, mode="edge")
    steps = range(2 * EDGE_PIXELS + 1)
    ends = [~padded[row : row + rows, column : column + columns] for row in steps for column in steps]
    edge: Array = inside & np.logical_or.reduce(ends)
    return edge


def _enlarged(cells: Array, factor: int) -> Array:
    """Every cell as a square of pixels."""
    enlarged: Array = cells.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged


def holding(attention: Array, mass: float) -> Array:
    """The fewest patches of one head that hold the share `mass` of its attention, as (rows, columns) of bool."""
    flat = attention.reshape(-1).astype(np.float64)
    order = np.argsort(flat)[::-1]
    held = np.cumsum(flat[order]) / flat.sum()
    count = int(np.searchsorted(held, mass)) + 1
    mask = np.zeros(flat.size, dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(attention.shape)
