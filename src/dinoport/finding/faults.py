"""A place where a model is nearly whole: what is missing there, or of another shape. It is named, and never taken."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dinoport.codebases.catalogue import family_by_names
from dinoport.codebases.refusal import NOT_PART, cause_of
from dinoport.errors import PlanError
from dinoport.finding.places import naming_of, problems_of
from dinoport.finding.unwrap import StateDict
from dinoport.mapping.folding import fold_names
from dinoport.shown.calls import call
from dinoport.shown.text import few, with_article
from dinoport.tensor import Array, ArrayValues, Shape, TensorRef

BLOCK = re.compile(r"(?:^|.*?\.)(?:blocks|layers?|encoder_layer_?)[._](\d{1,4})\.")
"""What stands before the name of a tensor in a block, with the block's number."""

BEGINS = tuple(
    re.compile(rf"(^|.*?\.)(?=(?:blocks|{layers}|layers|downsample_layers|stages|layer1)\.\d)")
    for layers in (r"encoder\.layer|encoder\.stages|model\.layer|layer", r"model\.layer|layer", "layer")
)
"""What stands before a model whose first part is missing. Where that ends in `encoder` or `model`, a model that begins
with `encoder.layer` or `model.layer` seems to stand there too.
"""

OF_TRANSFORMERS = ("embeddings.", "stages.0.downsample_layers", "embedder.", "encoder.stages.")
"""How names of Transformers begin, which no other codebase has."""

OF_A_MODEL = frozenset({
    "cls_token", "mask_token", "register_tokens", "storage_tokens", "reg_token", "pos_embed", "patch_embed",
    "rope_embed", "blocks", "norm", "norms", "downsample_layers", "stages", "embeddings", "encoder", "layer", "layers",
    "model", "layernorm", "layer_norm", "pooler", "conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "embedder",
})  # fmt: skip
"""How names of models begin; others may lie beside them."""

MAX_LINES = 12

MAX_PLACES = 64
"""At which a missing tensor is looked for: no file of a model misses more."""


def refuse_nearly(where: str, place: StateDict) -> None:
    """Raise PlanError for a place with known names that are not all there, in one sentence with what is at fault.

    Of a file that is one model, only where a tensor is missing without which its sizes cannot be read.
    """
    if place.is_inner:
        whole, lines = faults(place)
    else:
        whole, lines = _but_one(place, with_more=True) if _is_unreadable(place) else (place, [])
    if lines:
        raise incomplete(where, whole, lines)


def refuse_without_one(where: str, states: Iterable[StateDict]) -> None:
    """Raise PlanError where a model would be whole, but for one tensor by which it is told."""
    for place in (place for state in states for place in _beginnings(state)):
        whole, lines = _but_one(place)
        if lines:
            raise incomplete(where, whole, lines)


def faults(place: StateDict) -> tuple[StateDict, list[str]]:
    """What a place lacks to be whole, a line for each, and the place as it would be; none where nothing is at fault."""
    problems = problems_of(place)
    if problems == ():
        return place, []
    if unlike := [*uneven(place.shapes)]:
        return place, unlike
    if _is_unreadable(place) and (found := _but_one(place, with_more=True))[1]:
        return found
    return place, _folded(problems or ())


def _is_unreadable(place: StateDict) -> bool:
    problems = problems_of(place)
    return problems is None or any(not name for name, _ in problems)


def _but_one(place: StateDict, *, with_more: bool = False) -> tuple[StateDict, list[str]]:
    """A place with the one tensor that makes it whole, and its name; `with_more`, though it holds other tensors too."""
    for name, shape in _telling(place.shapes):
        own = TensorRef(name, np.dtype(np.float32), shape, ArrayValues(_stand_in(shape)))
        whole = replace(place, tensors={**place.tensors, name: own}, path=place.prefix, originals={})
        problems = problems_of(whole)
        if problems is None or any(what != NOT_PART or other == name for other, what in problems):
            continue
        if with_more or all(other.startswith("norm.") for other, _ in problems):  # which is some other layer's
            return whole, [f"{name} is missing", *_folded(problems)]
    return place, []


def _stand_in(shape: Shape) -> Array:
    """Values for a missing tensor. The only ones that a network's table reads are rotary periods, here of base 100."""
    if len(shape) != 1:
        return np.broadcast_to(np.float32(0), shape)  # takes no memory
    return np.float32(100) ** (np.arange(shape[0], dtype=np.float32) / max(shape[0], 1))


def _folded(problems: Iterable[tuple[str, str]]) -> list[str]:
    by_what: dict[str, list[str]] = {}
    for name, what in problems:
        by_what.setdefault(what, []).append(name)
    return [f"{name} {what}".strip() for what, names in by_what.items() for name in fold_names(names)]


def incomplete(where: str, place: StateDict, lines: Sequence[str], other: str | None = None) -> PlanError:
    """What is said of a place with these faults. `other` says what to do in its place."""
    naming = naming_of(place)
    title = family_by_names(naming).title if naming else "model"
    return not_whole(where, title, place.prefix, lines, other)


def not_whole(where: str, title: str, prefix: str, lines: Sequence[str], other: str | None = None) -> PlanError:
    """What is said of a place that is nearly a model of this title. `other` says what to do in its place."""
    return PlanError(
        f"{where} holds {with_article(title)}{f' under {prefix}.' if prefix else ''}, but it is not whole",
        few(lines, MAX_LINES),
        expected="every tensor of the model, each block like the others",
        cause=cause_of(lines),
        next_step=other or call("inspect", where),
    )


def uneven(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Numbers that no block has, and what one block lacks, or has in another shape, that most of the others have."""
    blocks: dict[str, dict[int, dict[str, Shape]]] = {}
    for name, shape in shapes.items():
        if found := BLOCK.match(name):
            begin = name[: found.start(1)]
            blocks.setdefault(begin, {}).setdefault(int(found[1]), {})[name[found.end() :]] = shape
    for begin, own in blocks.items():
        if begin.startswith("stages"):
            continue  # of a convolutional network: the first block of a stage is unlike the others
        gone = [f"{begin}{number}" for number in range(max(own)) if number not in own]
        yield from (f"{name} is missing, though there is {begin}{max(own)}" for name in fold_names(gone))
        usual = {leaf for leaf, count in Counter(leaf for block in own.values() for leaf in block).items()
                 if 2 * count > len(own)}  # fmt: skip
        gone = [
            f"{begin}{number}.{leaf}" for leaf in sorted(usual) for number, block in own.items() if leaf not in block
        ]
        yield from (f"{name} is missing, though other blocks have it" for name in fold_names(gone))
        for leaf in sorted(usual):
            counted = Counter(block[leaf] for block in own.values() if leaf in block)
            shape, count = counted.most_common(1)[0]
            for number, block in own.items() if 2 * count > len(own) else ():
                if block.get(leaf, shape) != shape:
                    yield f"{begin}{number}.{leaf} has shape {block[leaf]} where other blocks have {shape}"


def _beginnings(state: StateDict) -> Iterator[StateDict]:
    """The places in a state dict where the blocks of a model begin."""
    prefixes = dict.fromkeys(found[1] for begins in BEGINS for name in state.tensors if (found := begins.match(name)))
    for prefix in list(prefixes)[:MAX_PLACES]:
        below = {name[len(prefix) :]: each for name, each in state.tensors.items() if name.startswith(prefix)}
        own = {name: each for name, each in below.items() if name.partition(".")[0] in OF_A_MODEL}
        path = ".".join(filter(None, (state.path, prefix.rstrip("."))))
        yield StateDict("", path, {name: each.renamed(name) for name, each in own.items()})


def _telling(shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Shape]]:
    """Tensors by which a model is told, those that are not there, in the shape that a model around them would have."""
    widths = Counter(shape[0] for name, shape in shapes.items() if len(shape) == 1 and "norm" in name)
    width = widths.most_common(1)[0][0] if widths else 0
    stem = shapes.get("downsample_layers.0.0.bias", shapes.get("stages.0.downsample_layers.0.bias", (0,)))[0]
    last = shapes.get("norms.3.bias", (0,))
    table = shapes.get("pos_embed", shapes.get("embeddings.position_embeddings", (1, 5, width)))
    wanted: dict[str, Shape] = {
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "embeddings.patch_embeddings.projection.weight": (width, 3, 16, 16),
        "embeddings.patch_embeddings.weight": (width, 3, 16, 16),
        "cls_token": (1, 1, width),
        "embeddings.cls_token": (1, 1, width),
        "pos_embed": table,
        "embeddings.position_embeddings": table,
        "rope_embed.periods": (16,),
        "downsample_layers.0.0.weight": (stem, 3, 4, 4),
        "stages.0.downsample_layers.0.weight": (stem, 3, 4, 4),
        "norms.3.weight": last,
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "embedder.embedder.convolution.weight": (64, 3, 7, 7),
        "encoder.stages.0.layers.0.layer.2.convolution.weight": (256, 64, 1, 1),
    }
    own = any(
        name.startswith(("embeddings.", "embedder.", "encoder.stages.")) or ".layernorm_before." in name
        for name in shapes
    )
    if "pos_embed" in shapes:  # no network has both
        del wanted["rope_embed.periods"]
    names = [name for name in wanted if name not in shapes and name.startswith(OF_TRANSFORMERS) == own]
    return ((name, wanted[name]) for name in names)
