"""What is right in itself and stands in another place: blocks, rows of the position table, registers."""

from collections.abc import Iterator

import torch

from dinoport.networks.interpolation import INTERPOLATIONS
from dinoport.networks.observing import AFTER
from dinoport.proofs.diagnosis.misplaced import block_of
from dinoport.proofs.diagnosis.trial import Trial


def block_order(base: Trial, block: str) -> Iterator[Trial]:
    depth = getattr(base.architecture, "depth", 0)
    for words, order in (("alphabetical", sorted(range(depth), key=str)), ("reversed", [*range(depth)][::-1])):
        if order != [*range(depth)]:
            renamed = {
                name: base.state[f"blocks.{order[int(name.split('.')[1])]}.{name.split('.', 2)[2]}"]
                for name in base.state
                if name.startswith("blocks.")
            }
            yield base.changing(f"the blocks are in {words} order", **renamed)


def swapped_blocks(base: Trial, block: str) -> Iterator[Trial]:
    """The first block that differs and a later one, in each other's place, where their tensors have the same shapes."""
    blocks: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in base.state.items():
        if (own := block_of(name)) is not None:
            blocks.setdefault(own, {})[name.removeprefix(own)] = tensor
    first = blocks.get(block)
    if first is None:
        return
    names = list(blocks)
    for other in names[names.index(block) + 1 :]:
        second = blocks[other]
        if {n: t.shape for n, t in first.items()} == {n: t.shape for n, t in second.items()}:
            swapped = {f"{block}{n}": t for n, t in second.items()} | {f"{other}{n}": t for n, t in first.items()}
            yield base.changing(f"{block} and {other} are swapped", **swapped)


def shifted_tables(table: torch.Tensor, *, back: bool = False) -> Iterator[tuple[str, torch.Tensor]]:
    """A table of (1, 1 + patches, width) with its rows in another place, and words for that.

    With `back`, the table of which this one would be such a table.
    """
    way = -1 if back else 1
    cls, patches = table[:, :1], table[:, 1:]
    for along, step in (("later", way), ("earlier", -way)):
        moved = torch.cat([cls, patches.roll(step, dims=1)], dim=1)
        yield f"the patches' rows of the position table stand one place {along}", moved
    yield "all rows of the position table stand one place later, the CLS token's too", table.roll(way, dims=1)
    yield "the position table has the CLS token last", table.roll(-way, dims=1)
    side = round(patches.shape[1] ** 0.5)
    if side**2 == patches.shape[1]:
        turned = patches.reshape(1, side, side, -1).transpose(1, 2).flatten(1, 2)
        yield "rows and columns of the position table are swapped", torch.cat([cls, turned], dim=1)


def other_positions(base: Trial, block: str) -> Iterator[Trial]:
    table = base.state.get("pos_embed")
    for words, moved in shifted_tables(table) if table is not None else ():
        yield base.changing(words, pos_embed=moved)
    own = getattr(base.architecture, "interpolation", None)
    for rule in INTERPOLATIONS.values() if own else ():
        if rule != own:
            words = f"the position table is resampled {rule}, by the original {own}"
            yield base.computed_as(words, interpolation=rule)


def other_registers(base: Trial, block: str) -> Iterator[Trial]:
    """Registers in another order among themselves, or behind the patches."""
    count = getattr(base.architecture, "registers", 0)
    for name in ("register_tokens", "storage_tokens"):
        registers = base.state.get(name)
        if registers is None:
            continue
        for step in (1, -1)[: count - 1]:
            words = f"the registers stand one place {'later' if step > 0 else 'earlier'}"
            yield base.changing(words, **{name: registers.roll(step, dims=1)})
    if count and block == AFTER:
        words = "the order of the tokens that come out: registers stand behind the patches in {}, before them in {}"
        behind = words.format("the folder", "the original"), words.format("the original", "the folder")
        yield base.having(
            behind[0],
            order=lambda tokens: torch.cat([tokens[:, :1], tokens[:, 1 + count :], tokens[:, 1 : 1 + count]], dim=1),
        )
        yield base.having(
            behind[1],
            order=lambda tokens: torch.cat([tokens[:, :1], tokens[:, -count:], tokens[:, 1:-count]], dim=1),
        )
