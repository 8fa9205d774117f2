"""What a model becomes in a codebase: one form of it, with the rules to its names, ready to be written; and what the
forms of several codebases share: the choice of an input size, the transform, the baked position table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dinoport.errors import SettingError
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.plan import Step
from dinoport.mapping.rule import Rule, change, copy
from dinoport.model import Model
from dinoport.networks.interpolation import Interpolation
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import MAX_IMAGE_SIZE, Request
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.start import Start


class Order(NamedTuple):
    """Where a form is written, and of what; `on_shard` is called with each of several weight files that is whole."""

    folder: Path
    steps: Sequence[Step]
    documents: Mapping[str, Mapping[str, object]]
    max_shard_bytes: int
    on_bytes: Callable[[int], None]
    on_shard: Callable[[Path], None]


@dataclass(frozen=True)
class Target:
    """One form, such as a class of Transformers, or the original's own file.

    `rules` lead from the canonical names to those of the form, `config` is the content of its config.json without the
    dtype. `image_size` is the one whose outputs are the original's, `baked_from` the one that a baked position table
    was stored for. `rule` says what other sizes rest on, where the original takes no other one. `resamples_alike` says
    that the form resamples the table as the original does, at every size. `others` are forms that hold the same, and
    `since` is the first library that has the form, where an older one that is supported has not. `pooler` says that it
    was given one. `preprocessing` is None where the form has no transform. `anew` are canonical tensors that the form
    has otherwise, though it computes the same: computed from the model's. `start` is what else a start for training
    has, `hub_entry` what of torch.hub takes a file of the form, `file` what that is called once it is written.
    """

    form: str
    title: str
    rules: tuple[Rule, ...]
    image_size: int
    channels: int
    config: Mapping[str, object] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    baked_from: int | None = None
    interpolation: Interpolation | None = None
    rule: str = ""
    resamples_alike: bool = False
    pooler: bool | None = None
    classifies: bool = False
    others: tuple[str, ...] = ()
    since: str = ""
    anew: Mapping[str, TensorRef] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    start: Start | None = None
    hub_entry: str | None = None
    file: str | None = None

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])


def input_size(request: Request, stored: int, patch_size: int) -> int:
    """The input size that the folder is made for. Raises SettingError where patches do not fill it."""
    size = request.image_size
    if size is None:
        return stored
    if size < patch_size or size % patch_size:
        most = MAX_IMAGE_SIZE // patch_size
        raise SettingError(
            f"`image_size={size}` does not fit this model",
            expected=f"a multiple of its patch size, {patch_size}, up to {most * patch_size}",
            found=str(size),
            next_step=f"`image_size={min(max(round(size / patch_size), 1), most) * patch_size}`",
        )
    return size


def baked_from(size: int, stored: int) -> int | None:
    """The input size of the original's own position table, where the folder has it resampled for another."""
    return stored if size != stored else None


def baking(vit: Any, size: int) -> BakeTable:
    """A ViT's own resampling of its position table to another input size."""
    rule, grid = vit.interpolation, size // vit.cell
    return BakeTable(grid=grid, offset=rule.offset, antialias=rule.antialias, kernel=rule.kernel, first=vit.first_rows)


def position_rule(target: str, vit: Any, size: int) -> Rule:
    """The position table of a ViT as it is, or resampled once to another input size."""
    if size == vit.image_size:
        return copy(vit.positions, target)
    reason = f"resampled once from {vit.image_size} to {size} pixels ({vit.interpolation})"
    return change(vit.positions, target, baking(vit, size), because=reason)


def assumed_rule(model: Model) -> str:
    """What other sizes rest on where the original takes none; empty where it has a rule of its own."""
    settings = (each for each in model.settings if each.name == "interpolation" and each.doubted)
    return next((each.reason for each in settings), "")


def prepared(preprocessing: Preprocessing, size: int, request: Request, channels: int) -> Preprocessing:
    """The original's evaluation transform for one input size, with other statistics where the user gave them.

    Raises SettingError where those are not one for each of the model's channels.
    """
    for name, values in (("image_mean", request.image_mean), ("image_std", request.image_std)):
        if values is not None and len(values) != channels:
            raise SettingError(
                f"`{name}` does not fit this model",
                expected=f"{channels} {'number' if channels == 1 else 'numbers'}, one for each channel",
                found=", ".join(f"{value:g}" for value in values),
                next_step=f"`{name}={','.join(['0.5'] * channels)}`, with the values that the model was trained with",
            )
    return preprocessing.for_image_size(size).with_statistics(request.image_mean, request.image_std)


def form_of(
    model: Model,
    request: Request,
    form: str,
    config: Mapping[str, object],
    rules: tuple[Rule, ...],
    size: int,
    *,
    processed: int | None = None,
) -> Target:
    """A form for one input size, with what follows from the model; `processed` is what its transform makes, if another.

    Raises SettingError where statistics do not fit the model's channels.
    """
    network = model.architecture
    return Target(
        form=form,
        title=form,
        config=config,
        rules=rules,
        preprocessing=prepared(model.preprocessing, processed or size, request, network.channels),
        image_size=size,
        channels=network.channels,
        baked_from=baked_from(size, network.image_size) if network.positions else None,
        interpolation=getattr(network, "interpolation", None),
        classifies=network.classifier is not None,
    )
