"""What `model_args` of timm's config.json asks a builder for: what the tensors show, what is read, and nothing else.

A later timm may have more arguments, and each may change what is computed. So those that are known are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dinoport.codebases.timm.builders import CLASS_DEFAULTS, OF_DINOV3, ROTATION, SIZES
from dinoport.errors import SettingError
from dinoport.files.names import short_text

USUAL = {
    "act_layer": "gelu",
    "norm_layer": "layernorm",
    "ref_feat_shape": None,
    **{name: ROTATION[name] for name in ("rope_type", "rope_rotate_half", "use_rot_pos_emb")},
}
"""Arguments that are known with one value, and that no tensor shows."""

SHOWN = (
    frozenset(
        {*CLASS_DEFAULTS, *SIZES, *OF_DINOV3, "img_size", "num_classes", "class_token", "no_embed_class", "fc_norm"}
        | {"swiglu_align_to", "strict_img_size", "global_pool"}
    )
    - USUAL.keys()
)
"""The tensors or the forward pass show these, or they are read: a value that does not fit is found there."""

TRAINING = frozenset(
    {"drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"}
    | {"weight_init", "fix_init", "pretrained"}
)
"""These change nothing of a trained model in evaluation."""

OF_RESNET, OF_VIT = "avg", "token"
"""What timm's `global_pool` has to be for a classifier as DINO's own code computes it."""


def refuse_strange(where: str, arguments: Mapping[str, object]) -> None:
    """Raise SettingError for arguments by which timm may build another model than the tensors show."""
    if found := list(strange(arguments)):
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


def strange(arguments: Mapping[str, object]) -> Iterator[str]:
    """Each argument that no tensor shows, or that no DINO has so."""
    for name, value in arguments.items():
        heads = name == "num_heads" and not (type(value) is int and value > 0)
        if value is not None and (heads or not (name in SHOWN | TRAINING or USUAL.get(name) == value)):
            yield f"{name} = {short_text(value)}"


OF_ARCHITECTURE = {
    "embed_dim": "width",
    "depth": "depth",
    "patch_size": "patch_size",
    "in_chans": "channels",
    "reg_tokens": "registers",
    "num_reg_tokens": "registers",
}
"""Sizes that the tensors show, by our names for them."""


def refuse_unlike(where: str, arguments: Mapping[str, object], architecture: object) -> None:
    """Raise SettingError where the arguments are another model's: then nothing else that they say counts."""
    stated = {name: arguments[name] for name in OF_ARCHITECTURE if type(arguments.get(name)) is int}
    own = {name: getattr(architecture, OF_ARCHITECTURE[name], value) for name, value in stated.items()}
    if unlike := [name for name in stated if stated[name] != own[name]]:
        raise SettingError(
            f"the config.json of {where} describes another model than the tensors",
            where="config.json: model_args",
            expected=", ".join(f"{name} = {own[name]}" for name in unlike),
            found=", ".join(f"{name} = {stated[name]}" for name in unlike),
            cause="a config that was copied from elsewhere",
            next_step="give the folder as it was saved, or the file of weights alone",
        )


def other_head(architecture: str, pool: object) -> str | None:
    """Why a classifier is not the one that DINO's code computes; None where it is, or where nothing says it."""
    expected = OF_RESNET if architecture.startswith("resnet") else OF_VIT
    if pool in (None, expected):
        return None
    looks_at = "the patch mean" if pool == OF_RESNET else "features that are not known here"
    return f"its head looks at {looks_at}, as config.json says: global_pool = {short_text(pool)}"
