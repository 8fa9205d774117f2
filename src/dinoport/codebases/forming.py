"""What the forms of several codebases share: the choice of an input size, the transform, the baked position table."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.target import Target
from dinoport.errors import SettingError
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.rule import Rule, bake, copy
from dinoport.model import Model
from dinoport.networks.interpolation import Interpolation
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import MAX_IMAGE_SIZE, Request


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


def position_rule(
    target: str, size: int, stored: int, patch_size: int, interpolation: Interpolation, first: int = 1
) -> Rule:
    """The position table as it is, or resampled once to another size; its `first` rows belong to no patch."""
    if size == stored:
        return copy("pos_embed", target)
    rule = {"offset": interpolation.offset, "antialias": interpolation.antialias, "kernel": interpolation.kernel}
    operation = BakeTable(grid=size // patch_size, first=first, **rule)  # type: ignore[arg-type]  # of three kinds
    reason = f"resampled once from {stored} to {size} pixels ({interpolation})"
    return bake("pos_embed", target, operation, because=reason)


def assumed_rule(model: Model) -> str:
    """What other sizes rest on where the original takes none; empty where it has a rule of its own."""
    settings = (each for each in model.settings if each.name == "interpolation" and each.doubted)
    return next((each.reason for each in settings), "")


def prepared(preprocessing: Preprocessing, size: int, request: Request, channels: int) -> Preprocessing:
    """The original's evaluation transform for one input size, with other statistics where the user gave them.

    Raises SettingError where those are not one for each of the model's channels.
    """
    for field, values in (("image_mean", request.image_mean), ("image_std", request.image_std)):
        if values is not None and len(values) != channels:
            raise SettingError(
                f"`{field}` does not fit this model",
                expected=f"{channels} {'number' if channels == 1 else 'numbers'}, one for each channel",
                found=", ".join(f"{value:g}" for value in values),
                next_step=f"`{field}={','.join(['0.5'] * channels)}`, with the values that the model was trained with",
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


def processed_size(request: Request, preprocessing: Preprocessing) -> int:
    """The input size that the image processor makes: what the original is evaluated at, where none is asked for."""
    return request.image_size or preprocessing.size
