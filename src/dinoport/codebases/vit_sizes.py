"""The sizes that every ViT shows in its shapes: width, depth, patches, channels, and the table of positions."""

from collections.abc import Mapping
from typing import NamedTuple

from dinoport.codebases.refusal import unfit
from dinoport.codebases.shapes import count_blocks, required, square_side
from dinoport.errors import UnknownModelError
from dinoport.model import Origin, Setting
from dinoport.tensor import Shape, shape_text

MAX_DEPTH = 1000
"""More blocks than any ViT has: a higher number is a damaged name, not a model."""

PATCHES = "patch_embed.proj.weight"


class ViTSizes(NamedTuple):
    """Read off the shapes. `grid` is the patches along one side of the position table, 0 for a model without one."""

    width: int
    depth: int
    patch_size: int
    channels: int
    grid: int = 0

    @property
    def image_size(self) -> int:
        """Pixels along one side of the picture that the table was made for."""
        return self.grid * self.patch_size

    def settings(self, mlp_hidden: int, mlp_name: str) -> tuple[Setting[object], ...]:
        stored = Origin.STORED
        found: list[Setting[object]] = [
            Setting("width", self.width, stored, PATCHES),
            Setting("depth", self.depth, stored, "numbered blocks"),
            Setting("MLP width", mlp_hidden, stored, mlp_name),
            Setting("patch size", self.patch_size, stored, PATCHES),
            Setting("channels", self.channels, stored, PATCHES),
        ]
        if self.grid:
            reason = f"a table of {self.grid}×{self.grid} patches"
            found.append(Setting("image size", self.image_size, stored, reason))
        return tuple(found)


def read_sizes(shapes: Mapping[str, Shape], where: str, *, table: bool) -> ViTSizes:
    """Read a ViT's sizes; `table` says whether it has a position table. Raises PlanError where they make no sense.

    The table has a row for the CLS token and one for the distillation token, where there are such tokens.
    """
    patch = required(shapes, PATCHES, 4, where)
    rows = required(shapes, "pos_embed", 3, where)[1] if table else 0
    depth = count_blocks(shapes)
    first = sum(name in shapes for name in ("cls_token", "dist_token"))
    grid = square_side(rows - first) if table else 0
    problems = []
    if patch[2] != patch[3]:
        problems.append(f"{PATCHES} has shape {shape_text(patch)}: patches that are not square")
    if grid is None:
        named = {0: "", 1: "one for the CLS token and "}.get(first, f"{first} for tokens other than patches, and ")
        problems.append(f"pos_embed has {rows} rows: {named}{rows - first}, which is not a square")
    if not 0 < depth <= MAX_DEPTH:
        what = f"blocks are numbered up to {depth - 1}, more than any model has" if depth else "there are no blocks"
        problems.append(what)
    if problems:
        cause = "a model that was changed: no network that is known here computes it"
        raise unfit(where, "", problems, cause=cause)
    return ViTSizes(patch[0], depth, patch[2], patch[1], grid or 0)


def refuse_oblong(where: str, said: str, sides: object, architecture: object) -> None:
    """Raise UnknownModelError where a table whose rows would fill a square is for pictures of other `sides`.

    `said` is who says so.
    """
    side = getattr(architecture, "image_size", 0)
    pair = sides if isinstance(sides, list | tuple) and len(sides) == 2 else (0, 0)
    if not getattr(architecture, "positions", None) or not all(type(each) is int for each in pair):
        return
    if pair[0] != pair[1] and pair[0] * pair[1] == side**2:
        raise UnknownModelError(
            f"{where} has positions for pictures that are not square",
            expected=f"{side}×{side} pixels, which has as many patches",
            found=f"{pair[0]}×{pair[1]} pixels, as {said} says",
            cause="a model for spectrograms, people or roads; the sides decide which row is for which patch",
            next_step="keep it in its own code; if its table is for a square, give its state_dict() alone",
        )
