"""From what a file holds to the state dicts in it: which branches there are, and which prefixes their names wear.

Nothing is guessed silently: each candidate says where it was found and what was stripped from its names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.checkpoints.inert_pickle import Opaque
from dinoport.checkpoints.torch_tensors import module_state_dict
from dinoport.errors import CheckpointError
from dinoport.tensor import TensorRef

MAX_DEPTH = 16
"""Dicts in dicts: genuine checkpoints have three at most; deeper ones are made to exhaust something."""

BRANCHES = ("teacher", "student", "model_ema", "ema", "gram_teacher")
"""Copies of one model that a training run keeps side by side, under the names that the DINO codebases give them."""

PREFERENCE = ("teacher", "model_ema", "ema", "", "student")
"""Which branch is meant when none is asked for: the teacher is what upstream evaluates and publishes."""

CONTAINERS = frozenset({"model", "state_dict", "network", "net"})
"""Leading names that only say that a model follows."""

WRAPPERS = frozenset(
    {"module", "backbone", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"}
)
"""Names that a wrapper puts anywhere into a path: DistributedDataParallel, DINO's MultiCropWrapper, torch.compile,
FSDP, activation checkpointing. Upstream's own loaders delete `module.` and `backbone.` everywhere too."""

SKIPPED = frozenset({"optimizer", "optimizer_state_dict", "dino_loss", "ibot_patch_loss", "fp16_scaler", "scheduler"})
"""Top-level entries of a training checkpoint that hold tensors, but no model's."""


@dataclass(frozen=True)
class StateDict:
    """One model's tensors under bare names.

    `branch` is one of BRANCHES or empty; `path` is where in the file it was found; `notes` say what was stripped.
    """

    branch: str
    path: str
    tensors: Mapping[str, TensorRef]
    notes: tuple[str, ...] = ()
    originals: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.branch or self.path or "the file's own state dict"


def state_dicts(checkpoint: Checkpoint) -> list[StateDict]:
    """Every state dict in a checkpoint, preferred branches first.

    Raises CheckpointError where there is none, or where two names become one once their prefixes are gone.
    """
    groups: dict[tuple[str, str], dict[str, TensorRef]] = {}
    stripped: dict[tuple[str, str], Counter[str]] = {}
    originals: dict[tuple[str, str], dict[str, str]] = {}
    for path, tensors in _tensor_dicts(checkpoint):
        for full_name, tensor in tensors.items():
            branch, name, removed = _bare(path, full_name)
            if branch is None:
                continue
            key = (branch, ".".join(path))
            group = groups.setdefault(key, {})
            earlier = originals.setdefault(key, {}).setdefault(name, full_name)
            if name in group:
                raise CheckpointError(
                    f"two tensors of {checkpoint.where} become one once their prefixes are stripped",
                    expected="one tensor for each name of the model",
                    found=f"{earlier!r} and {full_name!r}, both {name!r}",
                    cause="two models or a wrapped and an unwrapped copy were merged into one state dict",
                    next_step="save the model that you mean on its own, or remove the other copy's entries",
                )
            group[name] = tensor.renamed(name)
            stripped.setdefault(key, Counter())[removed] += 1
    found = [
        StateDict(branch, path, tensors, _notes(stripped[branch, path]), originals[branch, path])
        for (branch, path), tensors in groups.items()
    ]
    if not found:
        raise CheckpointError(
            f"{checkpoint.where} holds no tensors that could be a model's",
            expected="a state dict: names and their tensors, bare or inside a training checkpoint",
            found=_describe(checkpoint.tree),
            next_step=f"dinoport inspect {checkpoint.where}",
        )
    return sorted(found, key=_rank)


def training_arguments(checkpoint: Checkpoint) -> Mapping[str, object]:
    """The `args` that `main_dino.py` stores beside its weights, as plain data; empty if there are none."""
    tree = checkpoint.tree
    args = tree.get("args") if isinstance(tree, dict) else None
    state = args.state if isinstance(args, Opaque) else args
    return {key: value for key, value in state.items() if isinstance(key, str)} if isinstance(state, dict) else {}


def _tensor_dicts(checkpoint: Checkpoint) -> Iterator[tuple[tuple[str, ...], dict[str, TensorRef]]]:
    """Walk the nested dicts of a checkpoint, each once, without recursion."""
    pending: list[tuple[tuple[str, ...], object]] = [((), checkpoint.tree)]
    seen: set[int] = set()
    while pending:
        path, node = pending.pop()
        if isinstance(node, Opaque):
            module = module_state_dict(node)
            if module:
                yield path, module
            continue
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        if len(path) > MAX_DEPTH:
            raise CheckpointError(
                f"{checkpoint.where} nests its dicts more than {MAX_DEPTH} deep",
                expected="a state dict, at most three dicts deep",
                found=".".join(path[:4]) + " …",
                cause="the file was not written by a training code",
                next_step="save the innermost state dict on its own",
            )
        tensors = {
            name: value for name, value in node.items() if isinstance(name, str) and isinstance(value, TensorRef)
        }
        if tensors:
            yield path, tensors
        for name, value in reversed(node.items()):
            if isinstance(name, str) and name not in SKIPPED:
                pending.append(((*path, name), value))


def _bare(path: tuple[str, ...], full_name: str) -> tuple[str | None, str, str]:
    """Branch, bare name and stripped prefix of one tensor; a branch of None where it is no model's."""
    branch = next((part for part in reversed(path) if part in BRANCHES), "")
    parts = full_name.split(".")
    removed: list[str] = []
    while len(parts) > 1 and (parts[0] in CONTAINERS or parts[0] in WRAPPERS or parts[0] in BRANCHES):
        if parts[0] in BRANCHES:
            branch = parts[0]
        removed.append(parts.pop(0))
    if parts[0] in SKIPPED:
        return None, full_name, ""
    kept = [part for part in parts[:-1] if part not in WRAPPERS]
    removed += [part for part in parts[:-1] if part in WRAPPERS]
    return branch, ".".join([*kept, parts[-1]]), "".join(f"{part}." for part in removed)


def _notes(stripped: Counter[str]) -> tuple[str, ...]:
    return tuple(
        f"prefix {prefix!r} stripped from {count} {'name' if count == 1 else 'names'}"
        for prefix, count in stripped.items()
        if prefix
    )


def _rank(candidate: StateDict) -> tuple[int, int]:
    order = PREFERENCE.index(candidate.branch) if candidate.branch in PREFERENCE else len(PREFERENCE)
    return order, -len(candidate.tensors)


def _describe(tree: object) -> str:
    if isinstance(tree, TensorRef):
        return "a single tensor"
    if isinstance(tree, dict):
        keys = ", ".join(repr(key) for key in list(tree)[:6])
        return f"a dict with the keys {keys}{' …' if len(tree) > 6 else ''}" if tree else "an empty dict"
    if isinstance(tree, Opaque):
        return f"an object of class {tree.name}"
    return f"a {type(tree).__name__}"
