"""A start: the file from which an original's own code trains on, and the options that have to go with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dinoport.codebases.codebase import canonical_rules
from dinoport.codebases.run import shown
from dinoport.codebases.running import LoadingProof
from dinoport.errors import SettingError
from dinoport.mapping.claims import Problem
from dinoport.mapping.rule import Rule, copy, drop
from dinoport.networks.network import Architecture
from dinoport.request import Request
from dinoport.tensor import Shape, TensorRef

if TYPE_CHECKING:
    from dinoport.formats.run_config import RunConfig

Key: TypeAlias = tuple[str, ...]
"""Where a tensor stands in a file: the keys of the dicts around it, then its name there."""

MAX_SHOWN = 100
"""Characters of a value that a message quotes."""

MAX_DEPTH = 4
"""Dicts in dicts: a start has two."""

Options: TypeAlias = Mapping[str, Any]
"""Of a run's config by dotted names, or of a command line."""


@dataclass(frozen=True)
class StartOption:
    """An option that has to agree with the weights: what the code takes without it, and what comes of another value.

    `alike` are values that build the same.
    """

    default: object
    effect: str
    alike: Callable[[object, object], bool] = lambda ours, theirs: ours == theirs


@dataclass(frozen=True)
class Start:
    """What a trainer is given, and what it does with it.

    `trainer` is the program, `file` the name of what it loads (none where that is the folder), `keys` where in it each
    tensor stands, by canonical name. `carried` are tensors that the source keeps beside its backbone. `options` have to
    agree with the weights; `wanted` are the tensors that the trainer's models have with these, one mapping for each way
    to build them.
    A `strict` trainer stops at a name that is missing or left over, any other trains on from random values.
    `config` says that options stand in a config, and not in a command line. `use` are shell lines; `fresh` says what
    starts anew, `silent` how a start that failed looks, `beside` what else the file is good for.
    """

    trainer: str
    file: str
    rules: tuple[Rule, ...]
    keys: Mapping[str, tuple[Key, ...]]
    options: Options
    wanted: tuple[Mapping[Key, Shape], ...]
    use: tuple[str, ...]
    fresh: tuple[str, ...]
    silent: tuple[str, ...]
    carried: tuple[str, ...] = ()
    strict: bool = False
    config: bool = True
    beside: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


NO_CLASSIFIER = "self-supervised training has no classifier"


def backbone_names(architecture: Architecture) -> list[str]:
    return [name for name in architecture.tensors() if not name.startswith("classifier.")]


def refuse_ranks(request: Request, cause: str) -> None:
    """Raise SettingError for processes of which each is to have a file of its own."""
    if request.ranks > 1:
        raise SettingError("`ranks` is for facebookresearch/dinov3 alone", cause=cause, next_step="leave `ranks` out")


def rules_of(names: Sequence[str], carried: Sequence[str], made: Sequence[Rule] = ()) -> tuple[Rule, ...]:
    """The table of a start: every tensor under its canonical name, what is carried along, and what is made."""
    classifier = drop("classifier.{p}", because=NO_CLASSIFIER)
    return (*canonical_rules(names, None), classifier, *(copy(name, name) for name in carried), *made)


def loaded(start: Start, found: Mapping[Key, Shape], version: str) -> LoadingProof:
    """What the trainer makes of a file of these tensors: its own strictness, replayed on names and shapes."""
    missing: dict[str, None] = {}
    unexpected: dict[str, None] = {}
    mismatched: dict[str, None] = {}
    taken: set[Key] = set()
    for model in start.wanted:
        missing |= dict.fromkeys(_named(key) for key in model if key not in found)
        mismatched |= dict.fromkeys(_named(key) for key in model if key in found and found[key] != model[key])
        unexpected |= dict.fromkeys(_named(key) for key in found if start.strict and key not in model)
        taken.update(model)
    for keys in start.keys.values():  # a tensor that no model takes is lost without a word
        if not taken.intersection(keys):
            unexpected |= dict.fromkeys(_named(key) for key in keys if key in found)
    return LoadingProof(start.trainer, version, "dinoport", tuple(missing), tuple(unexpected), tuple(mismatched))


def _named(key: Key) -> str:
    return ".".join(key)


def tensors_in(start: Start, tree: object) -> tuple[dict[str, TensorRef], list[Problem]]:
    """The tensors of a file by canonical name, and what is wrong with it.

    A tensor stands under several keys, and is one: the values under all of them lie in one place.
    """
    found: dict[str, TensorRef] = {}
    problems: list[Problem] = []
    stored = dict(_leaves(tree))
    for name, keys in start.keys.items():
        there = [(key, stored.pop(key)) for key in keys if key in stored]
        problems += [Problem(_named(key), "is missing") for key in keys if key not in dict(there)]
        for key, tensor in there:
            if found.setdefault(name, tensor.renamed(name)) != tensor.renamed(name):
                problems.append(Problem(_named(key), f"is not the tensor under {_named(there[0][0])}"))
    problems += [Problem(_named(key), "does not belong to this start") for key in stored]
    return found, problems


def shapes_in(tree: object) -> dict[Key, Shape]:
    """The shape of every tensor of a file, by where it stands."""
    return {key: tensor.shape for key, tensor in _leaves(tree)}


def _leaves(node: object, path: Key = ()) -> Iterator[tuple[Key, TensorRef]]:
    if isinstance(node, TensorRef):
        yield path, node
    for name, child in node.items() if isinstance(node, dict) and len(path) < MAX_DEPTH else ():
        yield from _leaves(child, (*path, str(name)))


def disagreements(config: RunConfig, options: Options, table: Mapping[str, StartOption]) -> Iterator[str]:
    """What a run's config says, or leaves at the code's default, and the weights need otherwise."""
    for name, ours in options.items():
        option = table.get(name)
        theirs = config.value(name, option.default) if option else None
        if option is None or (isinstance(theirs, str) and "${" in theirs):
            continue
        if not option.alike(ours, theirs):
            says = f"{config.name} says {name} = {shown(theirs)[:MAX_SHOWN]}"
            if not config.says(name):
                says = f"{config.name} leaves {name} at the code's default, {shown(theirs)}"
            yield f"{says}; the weights need {shown(ours)}: {option.effect}"


def own_builder(config: RunConfig | None, known: Collection[str]) -> str | None:
    """The builder that a config names, where the code has none of that name: somebody has added it."""
    named = config.text("student.arch") if config else None
    return None if named in known else named


def either_of(kinds: Collection[object]) -> Callable[[object, object], bool]:
    """Whether two values are equal, or both among these, which build the same."""
    return lambda ours, theirs: ours == theirs or (ours in kinds and theirs in kinds)


def both_or_neither(ours: object, theirs: object) -> bool:
    """Whether two values switch a part on, or both leave it out."""
    return bool(ours) == bool(theirs)


def unbuilt(codebase: str, vit: Any, place: str = "vision_transformer.py", sizes: str = "") -> str:
    """A word on a model that no builder of a codebase makes. `sizes` are those of another network than a ViT."""
    own = sizes or f"width {vit.width}, depth {vit.depth}, heads {vit.heads}, hidden features {vit.mlp_hidden}"
    return (
        f"no builder of facebookresearch/{codebase} makes this model ({own}): add one to {codebase}/models/{place}, "
        "and give its name as student.arch"
    )


def unlike_built(architecture: Any, trainer: str, eps: Collection[float] = (1e-6,)) -> Iterator[str]:
    """Words on a model of other channels or another eps than any that a trainer builds: no option changes these."""
    if architecture.channels != 3:
        takes = f"this one takes {architecture.channels}"
        yield f"{trainer} builds models for 3 channels, and {takes}: change its patch embedding"
    own = getattr(architecture, "layer_norm_eps", None)
    if own is not None and own not in eps:
        built = " or ".join(f"{each:g}" for each in eps)
        yield (
            f"{trainer} builds norms of eps {built}, and this model has {own:g}: change them, or all tensors load and "
            "the model computes something else"
        )
