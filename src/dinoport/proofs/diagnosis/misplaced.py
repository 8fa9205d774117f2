"""Which tensors of a folder hold values that belong elsewhere: found by content, without running a model."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoport.mapping.claims import claims_of_target
from dinoport.mapping.encoding import encode
from dinoport.mapping.folding import fold_names
from dinoport.mapping.plan import Step
from dinoport.mapping.rule import Rule
from dinoport.tensor import FLOAT_DTYPES, Array, TensorRef, dtype_name

_BLOCK = re.compile(r"(blocks\.\d+|layer\d+\.\d+|stages\.\d+\.\d+|downsample_layers\.[1-9]\d*)\.")

NOWHERE = "values that are nowhere in the original"


@dataclass(frozen=True)
class Misplaced:
    """Tensors of the folder that do not hold what belongs there.

    `names` are of the original, `lines` say what the tensors hold instead, folded; `cause` is the one reason that
    explains all of them, if there is one.
    """

    names: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    cause: str | None = None


def find_misplaced(
    originals: Mapping[str, TensorRef],
    written: Mapping[str, TensorRef],
    rules: Sequence[Rule],
    others: Mapping[str, Mapping[str, TensorRef]],
    dtype: np.dtype[Any] | None = None,
) -> Misplaced:
    """Compare what every tensor of the folder holds with what belongs there, there and in the `others`."""
    steps = {step.target.name: step for step in encode(originals, rules, dtype).plan.steps}
    belongs = {
        name: _digest(block.astype(written[name].dtype, copy=False) for block in step.blocks())
        for name, step in steps.items()
        if name in written
    }
    holds = {name: _digest(written[name].blocks()) for name in steps if name in written}
    wrong = [name for name, digest in holds.items() if digest != belongs[name]]
    if not wrong:
        return Misplaced()
    homes: dict[str, str] = {}
    for name, digest in belongs.items():
        homes.setdefault(digest, name)
    of_others = _digests_of_others(originals, rules, others, dtype)
    explained = {name: _explanation(name, holds[name], homes, of_others, steps[name]) for name in wrong}
    sources = [claim.source for name in wrong for claim in claims_of_target(name, rules) if claim.source]
    return Misplaced(tuple(dict.fromkeys(sources)), tuple(_folded(explained)), _common_cause(explained))


def block_of(name: str) -> str | None:
    """The block that an original tensor belongs to, None for one outside of the blocks."""
    found = _BLOCK.match(name)
    return found[1] if found else None


def _explanation(
    name: str, digest: str, homes: Mapping[str, str], others: Mapping[tuple[str, str], str], step: Step
) -> tuple[str, str]:
    """What a tensor holds, as words and, where it belongs to another place, that place's name."""
    if digest in homes:
        return "holds what belongs in", homes[digest]
    if (name, digest) in others:
        return f"holds the weights of {others[name, digest]}", ""
    for rounded in ("float16", "bfloat16"):
        if step.target.dtype in FLOAT_DTYPES.values() and dtype_name(step.target.dtype) != rounded:
            through = (_through(block, FLOAT_DTYPES[rounded]) for block in step.blocks())
            if _digest(through) == digest:
                return f"was rounded to {rounded}", ""
    return f"holds {NOWHERE}", ""


def _through(block: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        return block.astype(dtype).astype(block.dtype)


def _digests_of_others(
    originals: Mapping[str, TensorRef],
    rules: Sequence[Rule],
    others: Mapping[str, Mapping[str, TensorRef]],
    dtype: np.dtype[Any] | None,
) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for label, tensors in others.items():
        same = {
            name: tensors[name]
            for name, tensor in originals.items()
            if name in tensors and tensors[name].shape == tensor.shape
        }
        for step in encode(same, rules, dtype).plan.steps:
            found.setdefault((step.target.name, _digest(step.blocks())), label)
    return found


def _folded(explained: Mapping[str, tuple[str, str]]) -> Iterable[str]:
    alike: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for name, (words, place) in explained.items():
        key = (_numberless(name), words, _numberless(place))
        alike.setdefault(key, []).append((name, place))
    for (_, words, _), pairs in alike.items():
        names = " ".join(fold_names(name for name, _ in pairs))
        places = " ".join(fold_names(place for _, place in pairs if place))
        yield f"{names} {words} {places}".rstrip()


def _common_cause(explained: Mapping[str, tuple[str, str]]) -> str | None:
    words = {text for text, _ in explained.values()}
    if len(words) != 1 or (text := words.pop()).endswith(NOWHERE):
        return None
    if text == "holds what belongs in":
        return f"{len(explained)} tensors are in each other's place"
    return text.replace("holds", "the folder holds").replace("was rounded", "the weights were rounded")


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _digest(blocks: Iterable[Array]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        digest.update(np.ascontiguousarray(block).view(np.uint8).data)
    return digest.hexdigest()
