"""What timm itself makes of a config.json and the tensors beside it, where that is something else than they are."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from dinoport.codebases.timm.arguments import (
    OF_RESNET,
    contradicted,
    implied,
    is_known,
    refuse_other_rotation,
    refuse_unlike,
)
from dinoport.codebases.timm.config import TimmConfig, built_side
from dinoport.codebases.timm.writing import FORMS
from dinoport.codebases.vit_sizes import refuse_oblong
from dinoport.errors import SettingError
from dinoport.files.names import short_text
from dinoport.model import Wishes
from dinoport.request import Request, option_of

POOLING = ("avg", "avgmax", "max")
"""Kinds of `global_pool` that norm the pooled vector where nothing else is said."""


POOLED = ("convnext", "resnet")
"""Networks whose vector of a picture is pooled, and no token."""


def held_against(
    where: str, config: TimmConfig, architecture: Any, request: Request, wishes: Wishes
) -> tuple[str, ...]:
    """Words for the verdict on what a config says otherwise than the tensors, and timm would follow.

    Raises SettingError where its arguments are another model's, and where the number of heads is only its builder's,
    of another width.
    """
    shown: dict[str, Any] = import_module(f"dinoport.codebases.timm.{FORMS[architecture.network.name]}").shown(
        architecture
    )
    arguments = dict(config.arguments)
    refuse_oblong(where, "img_size in config.json", arguments.get("img_size"), architecture)
    pool = arguments.get("global_pool")
    if arguments.get("fc_norm") is None and pool is not None and is_known(config.architecture):  # others may say more
        arguments["fc_norm"] = pool in POOLING
    refuse_unlike(where, arguments, shown)
    if architecture.network.rotation:
        refuse_other_rotation(where, config.architecture, arguments)
    usual = {
        name: value for name, value in implied(config.architecture).items() if name not in (*arguments, "in_chans")
    }
    unlike = [*contradicted(usual, shown)]
    heads = wishes.stated.get("num_heads")
    if "embed_dim" in unlike and heads and heads == config.stated.get("num_heads") and "num_heads" not in config.own:
        raise SettingError(
            f"the number of attention heads of {where} is not known",
            where="config.json: architecture",
            expected=f"a builder of width {shown['embed_dim']}, as the tensors have it, or `num_heads`",
            found=f"{short_text(config.architecture)}, which has width {usual['embed_dim']} and {heads.value} heads",
            cause="a config.json without the `model_args` that the model was built with",
            next_step="add `num_heads=N`, with N from the code that trained the model",
            missing="num_heads",
        )
    words = [_of_builder(config, usual, shown, name) for name in unlike]
    if architecture.network.name in POOLED and pool not in (None, "", OF_RESNET):
        words.append(
            f"timm pools otherwise (global_pool = {short_text(pool)} in config.json); here a vector is the mean"
        )
    return (*words, *_of_sizes(config, architecture, request))


def _of_builder(config: TimmConfig, usual: Any, shown: Any, name: str) -> str:
    said = f"{short_text(config.architecture)} has {name} = {short_text(usual[name])}"
    return f"timm itself builds another model than the tensors: its {said}, they have {short_text(shown[name])}"


def _of_sizes(config: TimmConfig, architecture: Any, request: Request) -> Iterator[str]:
    own, table = built_side(config.arguments, config.described), architecture.image_size
    side = config.arguments.get("img_size", own)
    cell = architecture.cell
    sides = side if isinstance(side, list) and len(side) == 2 else [side, side]
    if architecture.positions and all(type(each) is int and each > 0 for each in sides):
        is_own = [each // cell for each in sides] == [table // cell] * 2
        if not is_own and request.image_size not in sides:
            fits = sides[0] == sides[1] and sides[0] % cell == 0
            asked = f"; {option_of('image_size')} {sides[0]} resamples it here, too" if fits else ""
            yield (
                f"timm resamples the table of positions to {sides[0]}×{sides[1]} pixels as it loads this folder "
                f"(img_size in config.json); here it stays as stored, for {table}×{table}{asked}"
            )
    held = architecture.classifier.classes if architecture.classifier else None
    counts = [config.arguments.get("num_classes", config.classes), config.classes]
    others = [count for count in counts if count not in (None, held)]
    if held and others:
        count = others[0]
        yield f"timm leaves out the classifier of {held} classes: config.json says num_classes = {short_text(count)}"
