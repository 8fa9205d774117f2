"""The linear layers in a file that was given as the head of a backbone, and which one of them is meant."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dinoport.errors import CheckpointError, SettingError, UnknownModelError
from dinoport.files.folders import LocalFolder
from dinoport.finding.bare_names import HEADS, anchor_of
from dinoport.finding.places import each_place, naming_of, naming_there
from dinoport.finding.unwrap import StateDict, state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.folding import fold_names
from dinoport.shown.text import listed
from dinoport.tensor import Shape, TensorRef, shape_text

UNCOMPUTED = "which no class of Transformers or timm computes"

MAX_LISTED = 6

OF_A_BLOCK = re.compile(r"(block|layer|stage)s?[._]\d+\.")
"""In the name of a layer in one of a network's blocks. No classifier stands there, whichever network it is."""


class Head(NamedTuple):
    """A linear layer: what its file calls it, its weight and its bias, and where it is from."""

    layer: str
    tensors: Mapping[str, TensorRef]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer or 'weight'} {shape_text(self.tensors['weight'].shape)}"


@dataclass(frozen=True)
class HeadFile:
    """The linear layers of a file, by name. `is_all` says that it holds nothing else; `name` is the one asked for.

    `others` are its other tensors, and `is_model` says that it holds a whole model.
    """

    checkpoint: Checkpoint
    layers: Mapping[str, Head]
    is_all: bool
    name: str | None = None
    others: Mapping[str, Shape] = field(default_factory=dict)
    is_model: bool = False

    def chosen(self, fits: Callable[[Head], object]) -> Head:
        """The head that is meant: the only one, the one asked for, or the best by the run's own results.

        `fits` raises UnknownModelError for a head that no class computes. Where no head of several fits, that is
        raised; where nothing says which is meant, SettingError with the list.
        """
        if self.name is not None:
            return self._asked(self.name)
        heads = list(self.layers.values())
        if len(heads) == 1 and self.is_all:
            return heads[0]
        refusals = [_refusal(fits, head) for head in heads]
        fitting = [head for head, refusal in zip(heads, refusals, strict=True) if refusal is None]
        if not fitting and refusals[0] is not None:
            raise refusals[0]
        best = self._best()
        if best and any(head.layer == best.layer for head in fitting):
            return best
        raise self._several(heads, fitting, best)

    def _asked(self, name: str) -> Head:
        """The layer of a name, or of some parts of one."""
        exact = self.layers.get(name)
        found = [exact] if exact else [head for layer, head in self.layers.items() if f".{name}." in f".{layer}."]
        if len(found) == 1:
            return self._with_neighbours(found[0])
        from difflib import get_close_matches

        close = get_close_matches(name, self.layers, n=1, cutoff=0.4)
        what = f"{len(found)} linear layers" if found else "no linear layer"
        raise SettingError(
            f"{self.checkpoint.where} has {what} under the name {name!r}",
            expected="the name of one layer" if found else "one of its layers",
            found=listed(found or list(self.layers.values()), MAX_LISTED),
            did_you_mean=f"`head_name={close[0]!r}`" if close and not found else None,
            next_step="give `head_name` in full",
        )

    def _with_neighbours(self, head: Head) -> Head:
        """The same, with a word on what stands before it or around it in its module: a norm, a scale, another layer.

        What a whole model's file has there is the backbone's own.
        """
        around, _, own = head.layer.rpartition(".")
        columns = head.tensors["weight"].shape[1]
        names = [name for name, shape in self.others.items()
                 if (_parent(name) and _parent(_parent(name)) == around and shape == (columns,))
                 or (_parent(name) == around and shape in ((columns,), (1, columns), ()))]  # fmt: skip
        names += [each.layer for each in self.layers.values() if each.layer != head.layer
                  and _parent(each.layer) == around and each.tensors["weight"].shape[0] == columns]  # fmt: skip
        if not names or self.is_model:
            return head
        around_it = ", ".join(fold_names(names)[:MAX_LISTED])
        more = "a classifier that looks through these computes something else"
        said = f"not taken with the layer {own}: {around_it}; {more}"
        return Head(head.layer, head.tensors, (*head.remarks, said))

    def _best(self) -> Head | None:
        """The classifier that the evaluation beside the file found the best, with the words for it."""
        from dinoport.codebases.dinov2.linear import MAX_RESULTS_BYTES, RESULTS, best_of

        path = Path(self.checkpoint.where)
        try:
            text = LocalFolder(path.parent).read(RESULTS, MAX_RESULTS_BYTES) if path.is_file() else None
        except CheckpointError:
            return None
        best = best_of(text) if text else None
        found = [head for layer, head in self.layers.items() if best and f".{best[0]}." in f".{layer}."]
        if best is None or len(found) != 1:
            return None
        remark = f"{best[0]} was chosen of {len(self.layers)} classifiers: the best in {RESULTS}, {best[1]}"
        return Head(found[0].layer, found[0].tensors, (*found[0].remarks, remark))

    def _several(self, heads: Sequence[Head], fitting: Sequence[Head], best: Head | None) -> SettingError:
        """What a user is asked where nothing decides."""
        from dinoport.codebases.dinov2.linear import RESULTS, features_of

        where = self.checkpoint.where
        shorts = [self._short(head.layer) for head in fitting]
        others = len(heads) - len(fitting)
        more = [f"{others} that take what no class of Transformers or timm computes"] if others else []
        more += [] if self.is_all else ["tensors that belong to no linear layer"]
        cause = f"a checkpoint of a whole model, or a head of several layers, {UNCOMPUTED}"
        if evaluated := all(features_of(head.layer) for head in heads):
            cause = f"an evaluation of several at once, without its {RESULTS} beside it"
        if best:
            cause = f"the best one in {RESULTS} is {self._short(best.layer)}, {UNCOMPUTED}"
        count = f"{len(heads)} linear {'classifiers' if evaluated else 'layers'}, and nothing says which one is"
        what = f"{count} {'meant' if evaluated else 'the classifier'}"
        expected = f"`head_name` with one that fits: {listed(shorts, MAX_LISTED)}"
        if len(heads) == 1:
            what = "a linear layer and other tensors, and nothing says that the layer is the classifier"
            expected = "a linear layer alone, or its name as `head_name`"
        return SettingError(
            f"{where} holds {what}",
            expected=expected,
            found=" and ".join(more) if more else None,
            cause=cause,
            next_step=f"add `head_name={shorts[0]!r}`",
        )

    def _short(self, layer: str) -> str:
        """The last part of a layer's name that no other layer has; the whole name where there is none."""
        parts = reversed(layer.split("."))
        return next((part for part in parts if sum(f".{part}." in f".{each}." for each in self.layers) == 1), layer)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _refusal(fits: Callable[[Head], object], head: Head) -> UnknownModelError | None:
    try:
        fits(head)
    except UnknownModelError as error:
        return error
    return None


def head_file(checkpoint: Checkpoint, name: str | None, remark: str | None) -> HeadFile:
    """The linear layers of an open file. Raises SettingError where it holds none.

    `remark` says where the file is from, if not its name.
    """
    layers: dict[str, Head] = {}
    others: dict[str, Shape] = {}
    title = Path(checkpoint.where).name
    states = state_dicts(checkpoint)
    dropped = _dropped(states)
    for state in states:
        for full_name, weight in state.tensors.items():
            layer, _, leaf = full_name.rpartition(".")
            bias = state.tensors.get(f"{layer}.bias".lstrip("."))
            if leaf == "bias" and f"{layer}.weight".lstrip(".") in state.tensors:
                continue
            if leaf != "weight" or bias is None or len(weight.shape) != 2 or bias.shape != weight.shape[:1]:
                others[full_name] = weight.shape
                continue
            if OF_A_BLOCK.search(layer) or id(weight.values) in dropped:
                others[full_name] = weight.shape
                continue
            own = layer if layer not in layers else f"{state.path}.{layer}"
            words = remark or f"classifier from {title}{f': {layer}' if layer else ''}"
            layers[own] = Head(layer, {"weight": weight, "bias": bias}, (words,))
    if not layers:
        is_model = any(map(anchor_of, others))
        raise SettingError(
            f"{checkpoint.where} is not a linear head",
            expected="weight and bias of one linear layer, as eval_linear.py of DINO or DINOv2's hub save them",
            found=", ".join(fold_names(others)[:MAX_LISTED]),
            cause="a backbone, and none of its own layers is a classifier" if is_model else None,
            next_step="give the file of one linear classifier, or leave `head` out",
        )
    names = [*others, *(f"{layer}.weight" for layer in layers)]
    return HeadFile(checkpoint, layers, not others, name, others, any(map(anchor_of, names)))


def _dropped(states: Sequence[StateDict]) -> set[int]:
    """What the tables of the models in a file leave aside, such as projection heads, unless it may be a user's own."""
    known = [state for state in states if naming_of(state)]
    return {
        id(tensor.values)
        for place in each_place(states, known)
        for name, tensor in place.tensors.items()
        for claim in claims_of_source(name, naming_there(place).code.FAMILY.drops)
        if claim.rule.anew or name.partition(".")[0] not in HEADS
    }
