"""Whether a checkpoint is whole: what is not read as a tensor under the name of one, and what may lie elsewhere."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dinoport.errors import CheckpointError
from dinoport.files.names import short_text
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.torch.rebuilding import MAX_TENSORS
from dinoport.formats.torch.stand_ins import Opaque, reached
from dinoport.shown.text import counted
from dinoport.tensor import TensorRef

MAX_SHARING = 8
"""How many times the file's size its tensors may take together; tied weights and kept copies come to two."""

SMALL_BYTES = 64 * 1024 * 1024
"""What tensors may take in any case: an expanded buffer in a small file is not an attack."""

SKIPPED = frozenset({
    "optimizer", "optimizer_state_dict", "optimizer_states", "dino_loss", "ibot_patch_loss", "fp16_scaler", "scheduler",
})  # fmt: skip
"""Top-level entries of a training checkpoint that hold tensors, but no model's."""

TENSOR_NAME = re.compile(
    r"(.*\.)?(weight(_[gv])?|(\w_)?bias(_mask)?|gamma(_\d)?|lambda\d?|periods|running_(mean|var)"
    r"|num_batches_tracked|\w*tokens?|\w*embed(ding)?s?)"
)
"""Names that only tensors have, in the networks that are converted."""

EXTRA_STATE = "_extra_state"
"""What a module of torch may save besides its tensors, under this name."""


def refuse_unread(where: str, children: Mapping[Any, object]) -> None:
    """Raise CheckpointError where a name that a model could have stands for something that is not read as a tensor."""
    names = [name for name, child in children.items() if isinstance(name, str) and _is_tensor(child)]
    dotted = [name for name in names if "." in name]
    if not names:
        return
    for name, child in children.items():
        if not isinstance(name, str):
            if isinstance(child, TensorRef) or isinstance(name, Opaque):
                raise unsound(where, f"tensors by name, and beside them one by the key {short_text(name)}")
        elif isinstance(child, TensorRef) or name.split(".")[0] in SKIPPED or name.endswith(EXTRA_STATE):
            continue
        elif isinstance(child, dict) and not dotted:
            continue  # modules in dicts of their own, whose names may be those of a tensor
        elif (
            _is_beside(name, dotted)
            or (TENSOR_NAME.fullmatch(name) and (dotted or not isinstance(child, (int, float, str))))
            or (dotted and _is_tensor(child))  # without such names beside it, an array is a history or a random state
        ):
            raise CheckpointError(
                f"{where} holds {name[:200]} in a form that is not read",
                expected="a tensor, as the names beside it have",
                found=describe(child),
                cause="an array, a sparse or quantised tensor, or a value that stands where a tensor belongs",
                next_step="load it where you trust it, make it a plain tensor, and save the state dict with torch.save",
            )


def _is_tensor(child: object) -> bool:
    return isinstance(child, TensorRef) or (isinstance(child, Opaque) and child.is_tensor)


def _is_beside(name: str, dotted: Iterable[str]) -> bool:
    """Whether a name lies in a module of which there are tensors."""
    parent = name.rpartition(".")[0]
    return bool(parent) and any(other.startswith(f"{parent}.") for other in dotted)


def gaps(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Why a tensor that is not found may still have been saved; empty where the checkpoint is known to be whole."""
    unread = [f"{path} is not read: {what}" for path, what in checkpoint.unread if path.split(".")[0] not in SKIPPED]
    return (*checkpoint.gaps, *unread)


def unsound(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where} holds what no training code saves",
        found=found,
        cause="a file that was made to mislead or to exhaust something",
        next_step="save the state dict of the model on its own",
    )


def refuse_amounts(checkpoint: Checkpoint, tensors: Collection[TensorRef]) -> None:
    """Raise CheckpointError where tensors that share their values come to more than any model of a file this small."""
    announced = sum(tensor.size_bytes for tensor in tensors)
    if len(tensors) > MAX_TENSORS or announced > MAX_SHARING * checkpoint.size_bytes + SMALL_BYTES:
        found = f"{counted(len(tensors), 'tensor')} of {announced} bytes in a file of {checkpoint.size_bytes}"
        raise unsound(checkpoint.where, found)


def unnamed(tree: object) -> str | None:
    """Why a tree that holds tensors holds no model: they have no names, or lie in an object of an unknown class."""
    nodes = [node for node in reached([tree], set()) if isinstance(node, dict | list | tuple | Opaque)]
    for node in nodes:
        if isinstance(node, dict) and any(type(key) is int and _holds(child) for key, child in node.items()):
            return "its keys are numbers, as of an optimiser's state or of a list: nothing tells which tensor is which"
    seen: set[int] = set()  # of all objects together, so that each is looked at once
    for node in nodes:
        if isinstance(node, Opaque) and any(isinstance(each, TensorRef) for each in reached([node], seen)):
            return f"its tensors lie in an object of class {short_text(node.name)}, whose attributes are not read"
    return None


def _holds(child: object) -> bool:
    own = child.values() if isinstance(child, dict) else [child]
    return any(isinstance(each, TensorRef) for each in own)


def describe(tree: object) -> str:
    if isinstance(tree, TensorRef):
        return "a single tensor"
    if isinstance(tree, dict):
        keys = ", ".join(short_text(key) for key in list(tree)[:6])
        return f"a dict with the keys {keys}{' …' if len(tree) > 6 else ''}" if tree else "an empty dict"
    if isinstance(tree, Opaque):
        return f"an object of class {tree.name[:100]}"
    return f"a {type(tree).__name__}"
