"""The way back: which original a folder of Transformers holds, and the rules that lead to its names.

The rules are those of the way there. What config.json knows and no tensor holds (heads, eps) comes along as wishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dinoport.codebases.setting import Wishes
from dinoport.codebases.transformers import dinov2, dinov3_convnext, dinov3_vit, resnet, vit
from dinoport.errors import UnknownModelError
from dinoport.mapping.rule import Rule, copy
from dinoport.networks.convnext.architecture import DinoV3ConvNext
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.networks.vit2.architecture import DinoV2ViT

MAX_LAYERS = 1000
MAX_WIDTH = 65_536
"""More than any model has; config.json is not trusted with more."""

MAX_THETA = 1e300
"""Of rotary positions: a whole number of JSON may be larger than any float."""

LOSSES = {
    "local_cls_norm": "a norm for the local crops of training",
    "head": "the projection head of training",
    "dino_head": "a projection head of training",
    "ibot_head": "a projection head of training",
    "n_averaged": "a counter of training",
}
"""What a folder can have lost of its original, and what that is."""

MODEL_TYPES = {
    "vit": "ViTModel",
    "resnet": "ResNetModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "dinov3_convnext": "DINOv3ConvNextModel",
}
"""The class of a config that names none."""


@dataclass(frozen=True)
class Return:
    """A folder's class, the name of the family it came from, and how it goes back; `lost` is what does not."""

    class_name: str
    family: str
    rules: tuple[Rule, ...]
    wishes: Wishes
    lost: tuple[str, ...] = ()


def way_back(where: str, config: Mapping[str, object]) -> Return:
    """Read config.json's word for the class. Raises UnknownModelError for a class that no family here becomes."""
    class_name = class_name_of(config)
    build = CLASSES.get(class_name)
    if build is None:
        raise UnknownModelError(
            f"{where} holds a {class_name or 'model without a class'}, which did not come from a DINO codebase",
            where="config.json: architectures",
            expected=", ".join(CLASSES),
            found=class_name or "no architectures and no known model_type",
            next_step="give a folder that holds one of these classes",
        )
    family, rules = build(where, config)
    heads, eps = config.get("num_attention_heads"), config.get("layer_norm_eps")
    theta = config.get("rope_theta")
    wishes = Wishes(
        num_heads=heads if type(heads) is int else None,
        rope_theta=float(theta) if isinstance(theta, (int, float)) and 0 < theta < MAX_THETA else None,
        layer_norm_eps=float(eps) if isinstance(eps, (int, float)) and 0 < eps < 1 else None,
        said_by="config.json",
    )
    lost = tuple(name for name in _listed(config, "lost") if isinstance(name, str) and name in LOSSES)
    return Return(class_name, family, rules, wishes, lost)


def is_known_class(config: Mapping[str, object]) -> bool:
    """Whether config.json is that of a class that an original here becomes."""
    return class_name_of(config) in CLASSES


def class_name_of(config: Mapping[str, object]) -> str:
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        return architectures[0]
    return MODEL_TYPES.get(str(config.get("model_type")), "")


def _vit(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino", (
        copy("pos_embed", vit.POSITIONS),
        *vit.RULES,
        *vit.pooler_rules(_size(where, config, "hidden_size")),
    )


def _vit_classifier(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    backbone = (copy("pos_embed", vit.POSITIONS), *vit.RULES)
    return "dino", vit.classifying(backbone, _classifier(config, "head"))


def _dinov2(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    """DINOv2, or a DINO with a linear head that our own field tells of."""
    width, depth = _size(where, config, "hidden_size"), _size(where, config, "num_hidden_layers", MAX_LAYERS)
    positions = copy("pos_embed", dinov2.POSITIONS)
    classifies = class_name_of(config).endswith("ForImageClassification")
    if classifies and _record(config).get("family") == "dino":
        return "dino", dinov2.probe_rules(positions, width, depth)
    registers = class_name_of(config).startswith("Dinov2WithRegisters")
    swiglu = config.get("use_swiglu_ffn") is True
    hidden = width * _size(where, {"mlp_ratio": 4, **config}, "mlp_ratio", dinov2.MAX_MLP_RATIO)
    without = _listed(config, "without")
    parts = {part: part not in without for part in dinov2.OPTIONAL_PARTS}
    if not registers:
        parts["mask_token"] = config.get("use_mask_token") is not False
    model = DinoV2ViT(
        width=width,
        depth=depth,
        heads=1,
        mlp_hidden=dinov2.swiglu_hidden(hidden) if swiglu else hidden,
        patch_size=1,
        image_size=1,
        feed_forward="swiglu" if swiglu else "mlp",
        registers=_count(where, {"num_register_tokens": 4, **config}, "num_register_tokens") if registers else 0,
        interpolation=TO_SIZE_ANTIALIASED if registers else TO_SIZE,
        classes=1 if classifies else None,
        **parts,
    )
    return "dinov2", dinov2.rules(model, positions)


def _dinov3(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    width, theta = _size(where, config, "hidden_size"), config.get("rope_theta", 100.0)
    if not isinstance(theta, (int, float)) or not 0 < theta < MAX_THETA:
        raise _sizeless(where, "rope_theta", "a number above 0", theta)
    live = config.get("key_bias") is True
    model = DinoV3ViT(
        width=width,
        depth=_size(where, config, "num_hidden_layers", MAX_LAYERS),
        heads=_size(where, config, "num_attention_heads", width),
        mlp_hidden=1,
        patch_size=1,
        feed_forward="swiglu" if config.get("use_gated_mlp") is True else "mlp",
        registers=_count(where, config, "num_register_tokens"),
        layer_scale="layer_scale" not in _listed(config, "without"),
        qkv_bias=config.get("query_bias") is not False,
        key_bias_mask=not live or _record(config).get("open_key_mask") is True,
        live_key_bias=live,
        rope_theta=float(theta),
        rope_rounded=_record(config).get("rounded_periods") is True,
    )
    return "dinov3", dinov3_vit.rules(model)


def _dinov3_convnext(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    depths, widths = config.get("depths", [3, 3, 9, 3]), config.get("hidden_sizes", [96, 192, 384, 768])
    if not isinstance(depths, list) or not isinstance(widths, list) or len(depths) != 4 or len(widths) != 4:
        raise _sizeless(where, "depths and hidden_sizes", "four whole numbers each", (depths, widths))
    for values, limit in ((depths, MAX_LAYERS), (widths, MAX_WIDTH)):
        if any(type(value) is not int or not 0 < value <= limit for value in values):
            raise _sizeless(where, "depths and hidden_sizes", f"whole numbers from 1 to {limit}", values)
    scales = "layer_scale" not in _listed(config, "without")
    return "dinov3_convnext", dinov3_convnext.rules(DinoV3ConvNext(tuple(depths), tuple(widths), layer_scale=scales))


def _resnet(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino_resnet", resnet.RULES


def _resnet_classifier(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino_resnet", resnet.classifying(_classifier(config, "fc"))


CLASSES: Mapping[str, Callable[[str, Mapping[str, object]], tuple[str, tuple[Rule, ...]]]] = {
    "ViTModel": _vit,
    "ViTForImageClassification": _vit_classifier,
    "Dinov2Model": _dinov2,
    "Dinov2ForImageClassification": _dinov2,
    "Dinov2WithRegistersModel": _dinov2,
    "Dinov2WithRegistersForImageClassification": _dinov2,
    "DINOv3ViTModel": _dinov3,
    "DINOv3ConvNextModel": _dinov3_convnext,
    "ResNetModel": _resnet,
    "ResNetForImageClassification": _resnet_classifier,
}


def _record(config: Mapping[str, object]) -> Mapping[str, object]:
    """The field that we write into config.json; empty in a folder that we did not make."""
    record = config.get("dinoport")
    return record if isinstance(record, dict) else {}


def _listed(config: Mapping[str, object], field: str) -> list[object]:
    found = _record(config).get(field)
    return found if isinstance(found, list) else []


def _classifier(config: Mapping[str, object], otherwise: str) -> str:
    """The name that the original keeps its classifier under: ours to know from the field that we wrote."""
    name = _record(config).get("classifier")
    return name if isinstance(name, str) and name in ("head", "fc", "linear") else otherwise


def _count(where: str, config: Mapping[str, object], field: str) -> int:
    return 0 if config.get(field, 0) in (0, None) else _size(where, config, field)


def _size(where: str, config: Mapping[str, object], field: str, limit: int = MAX_WIDTH) -> int:
    value = config.get(field)
    if type(value) is int and 0 < value <= limit:
        return value
    raise _sizeless(where, field, f"a whole number from 1 to {limit}", value)


def _sizeless(where: str, field: str, expected: str, found: object) -> UnknownModelError:
    return UnknownModelError(
        f"{where} cannot go back: its config.json does not say how large the model is",
        where=f"config.json: {field}",
        expected=expected,
        found=repr(found)[:80],
        next_step="save the model again with save_pretrained",
    )
