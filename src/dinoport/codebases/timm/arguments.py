"""What `model_args` of timm's config.json asks a builder for: what the tensors show, what is read, and nothing else.

What it asks for and the tensors contradict is another model's, of which timm itself makes something else than they are.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dinoport.codebases.timm.architectures import patch_of, width_of
from dinoport.codebases.timm.builders import BUILDERS, CLASS_DEFAULTS, OF_DINOV3, ROTATION
from dinoport.codebases.timm.class_arguments import is_computed
from dinoport.errors import SettingError
from dinoport.files.names import short_text

OF_RESNET, OF_VIT = "avg", "token"
"""What timm's `global_pool` has to be for a classifier as DINO's own code computes it."""


def refuse_strange(where: str, architecture: str, arguments: Mapping[str, object]) -> None:
    """Raise SettingError for arguments by which timm may build another model than the tensors show."""
    if found := list(strange(architecture, arguments)):
        raise SettingError(
            f"the config.json of {where} says of a timm model what is not known here",
            where="config.json: model_args",
            expected="sizes that the tensors show",
            found=", ".join(found[:5]),
            cause="another model, or a later version of timm",
            next_step="if it computes what a DINO does: save its state dict with torch.save, and give that file",
        )


def arguments_of(where: str, config: Mapping[str, object]) -> Mapping[str, object]:
    """What the config.json of a builder asks it for. Raises SettingError for one that timm itself cannot load."""
    arguments, described = config.get("model_args", {}), config.get("pretrained_cfg", {})
    found = {"model_args": arguments, "pretrained_cfg": described}
    broken = [f"{name} = {short_text(value)}" for name, value in found.items() if not isinstance(value, Mapping)]
    if not isinstance(arguments, Mapping) or broken:
        raise SettingError(
            f"timm cannot load the config.json of {where}",
            where="config.json",
            expected="an object in `model_args`, and one in `pretrained_cfg`",
            found=", ".join(broken),
            cause="a config that was written by hand, or changed",
            next_step="mend it; or give the file of weights alone, with `num_heads=N`",
        )
    return arguments


def strange(architecture: str, arguments: Mapping[str, object]) -> Iterator[str]:
    """Each argument that no tensor shows, or that no DINO has so."""
    for name, value in arguments.items():
        unfit = name in READ and not READ[name](value)
        if value is not None and (unfit or not is_computed(architecture, name, value)):
            yield f"{name} = {short_text(value)}"


READ: Mapping[str, Callable[[Any], bool]] = {
    "num_heads": lambda value: type(value) is int and value > 0,
    "rope_temperature": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(("init_values", "ls_init_value"), lambda value: isinstance(value, int | float)),
    "norm_eps": lambda value: _is_number(value) and 0 < value < 1,
}
"""Arguments that are read, and the values that they may have."""


def refuse_unlike(where: str, arguments: Mapping[str, object], shown: Mapping[str, object]) -> None:
    """Raise SettingError where the arguments are another model's: then nothing else that they say counts.

    `shown` are those that the tensors show.
    """
    if unlike := list(contradicted(arguments, shown)):
        raise SettingError(
            f"the config.json of {where} describes another model than the tensors",
            where="config.json: model_args",
            expected=", ".join(f"{name} = {short_text(shown[name])}" for name in unlike),
            found=", ".join(f"{name} = {short_text(arguments[name])}" for name in unlike),
            cause="a config that was copied from elsewhere",
            next_step="give the folder as it was saved, or the file of weights alone",
        )


def contradicted(arguments: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[str]:
    """The names of arguments that ask for something else than what is `shown`."""
    width = shown.get("embed_dim")
    for name, own in shown.items():
        value: Any = arguments.get(name)
        if name not in arguments or (value is None and type(own) is int):
            continue
        if isinstance(own, bool):
            alike = bool(value) is own
        elif name in BEGUN:
            alike = (value is None) is (own is None) or bool(value) is bool(own)
        elif name == "mlp_ratio":  # what counts are the hidden features, rounded down, of a gate up to a multiple
            usual = isinstance(value, int | float) and abs(value) < MAX_RATIO
            more = int(width * own) - int(width * value) if usual else -1
            alike = 0 <= more < (MAX_ALIGN if shown.get("swiglu_mlp") else 1)
        else:
            alike = value == own or (isinstance(value, list) and value == [own, own])
        if not alike:
            yield name


MAX_RATIO = 1000
"""More hidden features than any model has."""

BEGUN = ("init_values", "ls_init_value")
"""With what a layer scale is begun: any value makes one."""

MAX_ALIGN = 64
"""The largest multiple that a gate's hidden features are made to be."""


def is_known(architecture: str) -> bool:
    """Whether all is known that a builder asks its class for."""
    return architecture.partition(".")[0] in BUILDERS


def implied(architecture: str) -> Mapping[str, object]:
    """What a builder builds where `model_args` say nothing else; of one that is not known here what its name says."""
    builder = BUILDERS.get(architecture.partition(".")[0])
    if builder is not None:
        return {**CLASS_DEFAULTS, **builder.arguments}
    said = {"embed_dim": width_of(architecture), "patch_size": patch_of(architecture)}
    return {name: value for name, value in said.items() if value is not None}


def refuse_other_rotation(where: str, architecture: str, arguments: Mapping[str, object]) -> None:
    """Raise SettingError where a builder rotates otherwise than a DINOv3 and no argument says that it should not."""
    builder = BUILDERS.get(architecture.partition(".")[0])
    whole = {**(builder.arguments if builder else OF_DINOV3), **arguments}
    unlike = [name for name, value in ROTATION.items() if whole.get(name) != value]
    if unlike:
        raise SettingError(
            f"the config.json of {where} asks for another rotation of queries and keys than DINOv3's",
            where="config.json: model_args",
            expected=", ".join(f"{name} = {ROTATION[name]!r}" for name in unlike),
            found=f"{architecture}, which rotates otherwise by default",
            cause="a config from which a field was taken out, or a model that is not a DINOv3",
            next_step="give the folder as it was saved",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def other_head(architecture: str, pool: object, fc_norm: object = None, says: str = "config.json") -> str | None:
    """Why a classifier is not the one that DINO's code computes; None where it is, or where nothing `says` it."""
    expected = OF_RESNET if architecture.startswith("resnet") else OF_VIT
    if pool in (None, expected):
        return "its head norms the CLS token anew, as config.json says: fc_norm = True" if fc_norm else None
    looks_at = "the patch mean" if pool == OF_RESNET else "features that are not known here"
    return f"its head looks at {looks_at}, as {says} says: global_pool = {short_text(pool)}"
