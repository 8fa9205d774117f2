"""The checkpoint that a path means. A folder with models of several trainings means none of them."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dinoport.errors import DinoportError
from dinoport.files.byte_sources import closed_on_error
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import holds_one_checkpoint, open_checkpoint
from dinoport.formats.run_folder import MAX_LISTED, SeveralError, also_within, fleet_of
from dinoport.tensor import Shape

RESAMPLED = "pos_embed"
"""What has another shape in the last part of a training, which takes larger pictures."""


def open_meant(path: Path) -> Checkpoint:
    """Open a file, or the checkpoint that a folder means. Raises CheckpointError, as where it may mean several."""
    try:
        opened = open_checkpoint(path)
    except SeveralError as error:
        from dinoport.finding.choosing import with_heads_apart

        raise with_heads_apart(error) from None
    if path.is_dir() and not holds_one_checkpoint(path):
        with closed_on_error(opened.close):
            _refuse_unrelated(path, opened)
    return opened


def _refuse_unrelated(folder: Path, chosen: Checkpoint) -> None:
    """Raise SeveralError where a folder holds models of other sizes than the one that was taken of it, or of another
    network. Checkpoints of one training have the same sizes.
    """
    taken = Path(chosen.where)
    others = also_within(folder, [taken])
    own = _sizes(chosen) if others else {}
    unlike: list[Path] = []
    for path in others[:MAX_LISTED] if own else ():
        with suppress(DinoportError), open_checkpoint(path) as checkpoint:
            unlike += [path] if _differ(own, _sizes(checkpoint)) else []
    if unlike:
        found = list(dict.fromkeys([taken, *unlike, *others]))
        raise SeveralError(f"{folder} holds checkpoints of models of different sizes", found, *fleet_of(folder, found))


def _sizes(checkpoint: Checkpoint) -> Mapping[str, Shape]:
    """The shapes of a model by canonical name; nothing where no known one is found."""
    from dinoport.finding.models import model_in
    from dinoport.mapping.decoding import decode
    from dinoport.model import Wishes

    with suppress(DinoportError):
        naming, tensors = model_in(checkpoint)
        if naming is not None:
            arranged, _ = naming.arranged(tensors)
            rules = naming.rules({name: tensor.shape for name, tensor in arranged.items()}, Wishes(num_heads=1))
            decoded = decode(arranged, rules, naming.code.FAMILY.drops).tensors
            return {name: tensor.shape for name, tensor in decoded.items() if name != RESAMPLED}
    return {}


def _differ(own: Mapping[str, Shape], other: Mapping[str, Shape]) -> bool:
    from dinoport.mapping.folding import numbered_module

    of_other_blocks = {*map(numbered_module, own)} != {*map(numbered_module, other)}
    return bool(other) and (of_other_blocks or any(own.get(name, shape) != shape for name, shape in other.items()))
