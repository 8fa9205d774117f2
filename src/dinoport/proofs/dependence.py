"""What the outputs depend on: how much each block adds to what passes it, and whether another picture gives others."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from dinoport.codebases.running import Pass
from dinoport.proofs.comparison import Comparison, noise_of
from dinoport.proofs.difference import Difference, compare, largest
from dinoport.proofs.verdict import GATE

NOISE = 1e-13
"""Relative to what passes a block: rounding of float64 stays below it in all models that were measured (1e-15)."""


ROUNDING_OF_SUM = 2.0**-53
"""How much of what passes a block is lost when what the block adds is added to it."""


DROWNING = 1e-6
"""What passes a block is looked at for another input where it becomes less than this of what comes out."""


def compare_blocks(ours: Pass, theirs: Pass) -> tuple[dict[str, Difference], tuple[str, ...], str | None]:
    """How far what comes out of each block differs, which blocks add too little to be seen, and what is wrong.

    A block adds to what passes it. Where that is much less, a difference of what it adds is nearly none of the sum: so
    it is held against what the block adds, as far as rounding lets it be seen. A block that adds the same everywhere
    shows its biases alone.
    """
    found: dict[str, Difference] = {}
    drowned: list[str] = []
    failure, before = None, None
    for name, output in ours.blocks.items():
        if name not in theirs.blocks or theirs.blocks[name].shape != output.shape:  # what others call a block's end
            continue
        found[name] = difference = Difference.between(output, theirs.blocks[name])
        if before is not None and before.shape == output.shape and bool(output.isfinite().all()):
            moved = output - before
            passing, added = float(before.abs().max()), float(moved.abs().max())
            rounding = NOISE * max(passing, added)
            if float((moved - _everywhere(moved)).abs().max()) * GATE < ROUNDING_OF_SUM * max(passing, added):
                drowned.append(name)
            if difference.absolute > max(rounding, GATE * added) and difference.relative <= GATE:
                failure = failure or f"what {name} adds differs by {difference.absolute / max(added, 1e-300):.1e} of it"
        before = output
    return found, tuple(drowned), failure


def _everywhere(moved: Any) -> Any:
    """What is added to every token, or to every place of a map, alike: a bias's part, which shows no weight."""
    return moved.mean(dim=(0, 2, 3) if moved.ndim == 4 else (0, 1), keepdim=True)


def is_blind(case: Comparison, images: Any, theirs: Pass) -> bool:
    """Whether the other side gives the same for another picture; looked at where there is a sign of it."""
    import torch

    if not (case.zeros or _alike(theirs.outputs) or _drowns(theirs.blocks)):
        return False
    another = -torch.from_numpy(noise_of(images.shape[1], images.shape[2:], len(images))).double()
    differences = compare(theirs.outputs, case.runner.run(another).outputs)
    return bool(largest(differences).relative <= GATE)


def _drowns(blocks: Mapping[str, Any]) -> bool:
    """Whether what enters a block is hardly anything of what comes out, so that what came before may be lost there."""
    outputs = list(blocks.values())
    pairs = pairwise(outputs)
    return any(float(before.abs().max()) < DROWNING * float(after.abs().max()) for before, after in pairs)


def _alike(outputs: Mapping[str, Any]) -> bool:
    """Whether the outputs of neighbouring places are the same: of the last two patches, or of a map's last corner."""
    if "feature_map" in outputs:
        last, before = outputs["feature_map"][:, :, -1, -1], outputs["feature_map"][:, :, -1, 0]
    elif "tokens" in outputs:
        last, before = outputs["tokens"][:, -1], outputs["tokens"][:, -2]
    else:  # one vector a picture: only another picture can tell
        return True
    return bool(Difference.between(last, before).relative <= GATE)
