"""How checkpoints that several processes wrote are told from others: all that is known of them until one is met."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dinoport.errors import CheckpointError
from dinoport.formats.torch.stand_ins import Opaque, reached

METADATA = ".metadata"

COPY_AGAIN = "copy the folder again from where the training wrote it"
SUFFIX = ".distcp"

SHARDED_CLASSES = ("ShardedTensor", "DTensor")

MAX_RANKS = 10_000
"""More than any run has."""


def is_distributed_folder(folder: Path) -> bool:
    return (folder / METADATA).is_file()


def refuse_lone_file(path: Path) -> None:
    """Raise CheckpointError for one file of a distributed checkpoint: the others hold the rest of its tensors."""
    if path.is_file() and (path.name == METADATA or path.name.endswith(SUFFIX)):
        raise CheckpointError(
            f"{path} is one file of a distributed checkpoint",
            expected=f"the folder, with {METADATA} and all {SUFFIX} files",
            found="one file",
            next_step=f"give the folder: {path.parent}",
        )


def refuse_other_layouts(folder: Path, names: Sequence[str]) -> None:
    """Raise CheckpointError for a folder that torch.distributed.checkpoint wrote, but not in a form to read."""
    found = ", ".join(names[:6])
    if any(name.startswith("__") and name.endswith(METADATA) for name in names):
        raise CheckpointError(
            f"{folder} is a distributed checkpoint whose ranks did not agree on one {METADATA}",
            expected=f"{METADATA}, which says what belongs to which tensor",
            found=found,
            cause="it was saved with use_collectives=False",
            next_step="load it as the run would, and save it again without that option",
        )
    if any(name.endswith(SUFFIX) for name in names):
        raise CheckpointError(
            f"{folder} is a distributed checkpoint without its {METADATA}",
            expected=f"{METADATA} beside the {SUFFIX} files",
            found=found,
            cause=f"a save that was interrupted ({METADATA} is written last), or a copy that left hidden files out",
            next_step="copy the folder again with its hidden files, or take an earlier checkpoint of the run",
        )
    if any(name.startswith("shard-") and name.endswith(".safetensors") for name in names):
        raise CheckpointError(
            f"{folder} holds the parts of a model that were not put together",
            expected="a safetensors file with whole tensors",
            found=found,
            cause="torch's HuggingFaceStorageWriter writes such parts with save_distributed=True",
            next_step="save with enable_consolidation=True, or run torch's consolidate_safetensors_files on the folder",
        )


def sharded_names(tree: object) -> Iterator[str]:
    """Tensors under a state dict's names that are sharded: at the top, or one dict deep as upstream saves them."""
    nodes = [tree, *tree.values()] if isinstance(tree, dict) else []
    for node in nodes:
        for name, value in node.items() if isinstance(node, dict) else ():
            if isinstance(name, str) and _is_sharded(value):
                yield name


def process_of(tree: object) -> tuple[int, int] | None:
    """The rank that saved sharded tensors, and of how many; None where they do not say it."""
    nodes = [tree, *tree.values()] if isinstance(tree, dict) else []
    for node in nodes:
        for value in node.values() if isinstance(node, dict) else ():
            for part in reached([value], set()) if _is_sharded(value) else ():
                rank, size = (_whole(part, f"global_{name}") for name in ("rank", "world_size"))
                if rank is not None and size is not None and rank < size <= MAX_RANKS:
                    return rank, size
    return None


def _whole(part: object, name: str) -> int | None:
    value = part.get(name) if isinstance(part, dict) else None
    return value if type(value) is int and value >= 0 else None


def _is_sharded(value: object) -> bool:
    return isinstance(value, Opaque) and value.name.endswith(SHARDED_CLASSES)
