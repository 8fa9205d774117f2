"""What the user, a config or a report says of a model besides its tensors, and what of that the file contradicts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoport.codebases.codebase import Reading
from dinoport.codebases.frameworks import Said
from dinoport.codebases.mmpretrain.config_text import BLUE_FIRST
from dinoport.codebases.record import transform_by_report
from dinoport.codebases.transformers.forms import class_name_of
from dinoport.errors import CheckpointError, SettingError
from dinoport.files.names import is_name
from dinoport.finding.choosing import Found
from dinoport.finding.unwrap import StateDict
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.formats.transformers_folder import CONFIG, WEIGHTS, read_json
from dinoport.model import CLAIM, UNHASHED, Origin, Stated, Wishes
from dinoport.networks.network import Classifier
from dinoport.networks.preprocessing import IMAGENET_MEAN, Preprocessing
from dinoport.request import Request
from dinoport.shown.address import is_address
from dinoport.shown.text import counted
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.timm.config import TimmConfig


def stated_by_config(checkpoint: Checkpoint, found: Found) -> Mapping[str, Stated]:
    """What config.json says of a backbone that lies inside a class of Transformers which is not read here.

    Of weights that were given without their folder too, where nothing in it contradicts them.
    """
    if found.naming.codebase != "Transformers":
        return {}
    from dinoport.codebases.transformers.names import stated_in

    if checkpoint.config is not None:
        return stated_in(checkpoint.config, found.state.tensors) if class_name_of(checkpoint.config) else {}
    path = Path(checkpoint.where)
    if path.name in WEIGHTS and not is_address(checkpoint.where):
        with suppress(CheckpointError, SettingError):
            said = stated_in(read_json(path.with_name(CONFIG)), found.state.tensors)
            return {name: Stated(each.value, f"{each.reason} beside it", Origin.CLAIMED) for name, each in said.items()}
    return {}


class SaidTransform(NamedTuple):
    """The transform that a config or a report says, if one does; `ours` where we wrote it. `untaken` says why one that
    is there is not taken.
    """

    transform: Preprocessing | None
    ours: bool
    untaken: tuple[str, ...] = ()


def claim_of(checkpoint: Checkpoint) -> str:
    """Why a value is taken from the report beside a file: it is of this file by its hash, or by name and size."""
    return UNHASHED if checkpoint.looked_at else CLAIM


def transform_said(checkpoint: Checkpoint, timm: TimmConfig | None) -> SaidTransform:
    """What timm's config.json says, the processor in a folder of Transformers, or the report beside a file."""
    if timm:
        return SaidTransform(timm.preprocessing, bool(timm.record))
    if checkpoint.processor is None:
        return SaidTransform(transform_by_report(checkpoint.vouched, claim_of(checkpoint)), True)
    from dinoport.codebases.transformers.processor import transform_of

    found = transform_of(checkpoint.processor, checkpoint.config or {})
    return SaidTransform(None, False, (found,)) if isinstance(found, str) else SaidTransform(found, False)


def with_transform(own: Preprocessing, said: SaidTransform, stated: Mapping[str, Stated]) -> Preprocessing:
    """What was said, else the original's own; before both, the statistics in `stated`, which the file itself holds."""
    if said.transform:
        own = own.as_said(said.transform, ours=said.ours)
    if "image_mean" not in stated:
        return own
    mean, std = stated["image_mean"], stated["image_std"]
    return own.with_stored(mean.value, std.value, mean.reason)


def timm_config_of(checkpoint: Checkpoint) -> TimmConfig | None:
    """What a config.json of timm's says; None without one."""
    if checkpoint.config is None:
        return None
    from dinoport.codebases.timm.config import timm_config

    return timm_config(checkpoint.where, checkpoint.config)


def training_arguments(checkpoint: Checkpoint) -> Mapping[str, str | int | float | None]:
    """The `args` that `main_dino.py` stores besides its weights: what of them is a word or a number."""
    tree = checkpoint.tree
    args = tree.get("args") if isinstance(tree, dict) else None
    state = args.state if isinstance(args, Opaque) else args
    if not isinstance(state, dict):
        return {}
    return {
        key: value
        for key, value in state.items()
        if isinstance(key, str)
        and (value is None or isinstance(value, (int, float)) or (isinstance(value, str) and is_name(value)))
    }


def wishes_of(request: Request, claimed: frozenset[str], timm: TimmConfig | None, said: Said) -> Wishes:
    """What the user says of the model; else, field by field, what a config or the file says."""
    asked = (request.num_heads, request.layer_norm_eps, request.interpolation)
    record = timm.record if timm else {}
    wishes = Wishes(*asked, decoder_heads=request.decoder_heads, claimed=claimed, record=record)
    return wishes.filled({**(timm.stated if timm else {}), **said.stated})


def overruled(wishes: Wishes, reading: Reading) -> Iterator[str]:
    """What the user says otherwise than the file, but for heads that the weights confirm."""
    return (text for name, text in wishes.overruling() if not (name == "num_heads" and _confirms_heads(reading)))


def contradicted(wishes: Wishes, reading: Reading) -> Iterator[str]:
    """Values that the report of a folder alone gives, where the file itself states others."""
    for name, text in wishes.overruling():
        stated = name in wishes.claimed and wishes.overruled[name].origin is not Origin.ASSUMED
        if stated and not (name == "num_heads" and _confirms_heads(reading)):
            yield text


def _confirms_heads(reading: Reading) -> bool:
    return any(each.name == "heads" and each.origin is Origin.READ for each in reading.settings)


BUFFER = re.compile(r"(?:.*\.)?(?:(?:pixel|image|img)_)?(mean|std)")
"""Of the statistics of pixels, as EoMT's `pixel_mean`, MoGe's and Pi3's `image_mean`: which of the two it holds."""

CHANNELS = 3

LEAST = 1e-4
"""Of a deviation, where pixels are from 0 to 1."""

STATISTICS = "the statistics of pixels, which the code around the model takes"


def is_buffer(name: str, tensor: TensorRef) -> bool:
    """Whether a tensor is one of the two."""
    is_float = np.issubdtype(tensor.dtype, np.floating)
    return bool(is_float and tensor.size == CHANNELS and len(tensor.shape) in (1, 3, 4) and BUFFER.fullmatch(name))


def buffered(state: StateDict) -> Mapping[str, Stated]:
    """Means and deviations that lie beside a model, both or none; none where there are several."""
    around = {**state.outside, **state.tensors}
    found: dict[str, list[tuple[str, tuple[float, ...]]]] = {"mean": [], "std": []}
    for name, tensor in around.items():
        told = BUFFER.fullmatch(name) if is_buffer(name, tensor) else None
        if told:
            values = tuple(round(float(value), 6) for value in tensor.read().ravel())
            found[told[1]].append((state.originals.get(name, name), values))
    if any(len(each) != 1 for each in found.values()):
        return {}
    [(of_mean, mean)], [(of_std, std)] = found["mean"], found["std"]
    if max(*mean, *std) > 1:
        mean, std = (tuple(round(value / 255, 6) for value in each) for each in (mean, std))
    fits = all(0 <= value <= 1 for value in mean) and all(LEAST <= value <= 1 for value in std)
    where = f"{of_mean} and {of_std} in the file"
    return {"image_mean": Stated(mean, where), "image_std": Stated(std, where)} if fits else {}


def from_blue(statistics: Mapping[str, Stated]) -> tuple[str, ...]:
    """A word on ImageNet's means from blue to red, as Detectron2's and Caffe's models have them."""
    mean = statistics.get("image_mean")
    if mean is None or any(abs(own - its) > NEAR for own, its in zip(mean.value, IMAGENET_MEAN[::-1], strict=True)):
        return ()
    return (f"{mean.reason} are ImageNet's from blue to red: {BLUE_FIRST}",)


NEAR = 0.005
"""Half of what lies between the means of two channels would be 0.012."""

LABEL_PLACES = ("", "hyper_parameters", "hparams", "args", "config", "cfg", "meta", "meta.dataset_meta", "dataset_meta")
"""Where settings stand in a checkpoint, as keys joined by dots: Lightning's, mmengine's and what people write."""

LABEL_NAMES = (
    "id2label", "label2id", "class_names", "classes", "CLASSES", "label_names", "labels", "class_to_idx", "idx_to_class"
)  # fmt: skip


def stored_labels(
    holder: Checkpoint, classifier: Classifier | None
) -> tuple[Mapping[int, str] | None, tuple[str, ...]]:
    """The names of so many classes by index, and a word on where they stand; None without any, or with two kinds."""
    found = dict(_labels(holder.tree, classifier.classes)) if classifier else {}
    first = next(iter(found.values()), None)
    if first is None or any(labels != first for labels in found.values()):
        return None, ()
    return first, (f"{counted(len(first), 'class name')} from {next(iter(found))} in {holder.where}",)


def _labels(tree: object, classes: int) -> Iterator[tuple[str, dict[int, str]]]:
    from dinoport.codebases.transformers.labels import labels_of

    for place in LABEL_PLACES:
        node = tree
        for key in place.split(".") if place else ():
            node = _entries(node).get(key)
        for name in LABEL_NAMES:
            if labels := labels_of(_entries(node).get(name), classes):
                yield f"{place}.{name}".lstrip("."), labels


def _entries(node: object) -> Mapping[object, object]:
    """What an object holds by name: a dict, one of a class of its own, or attributes."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Opaque):
        return {}
    pairs = [item for item in node.items or () if isinstance(item, tuple) and len(item) == 2]
    state = node.state if isinstance(node.state, dict) else {}
    return {**state, **{key: value for key, value in pairs if isinstance(key, str)}}
