"""The way back: which original a folder of Transformers holds, and the rules that lead to its names.

The rules are those of the way there. What config.json knows and no tensor holds (heads, eps) comes along as wishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dinoport.errors import UnknownModelError
from dinoport.families.setting import Wishes
from dinoport.mapping.rule import Rule, copy
from dinoport.targets.transformers import dinov2, resnet, vit

MAX_LAYERS = 1000
"""More than any model has; config.json is not trusted with more."""


@dataclass(frozen=True)
class Return:
    """A folder's class, the name of the family it came from, and how it goes back."""

    class_name: str
    family: str
    rules: tuple[Rule, ...]
    wishes: Wishes


def way_back(where: str, config: Mapping[str, object]) -> Return:
    """Read config.json's word for the class. Raises UnknownModelError for a class that no family here becomes."""
    class_name = _class_name(config)
    build = _BUILDERS.get(class_name)
    if build is None:
        raise UnknownModelError(
            f"{where} holds a {class_name or 'model without a class'}, which did not come from a DINO codebase",
            where="config.json: architectures",
            expected=", ".join(_BUILDERS),
            found=class_name or "no architectures and no known model_type",
            next_step="give a folder that holds one of these classes",
        )
    family, rules = build(where, config)
    heads, eps = config.get("num_attention_heads"), config.get("layer_norm_eps")
    wishes = Wishes(
        num_heads=heads if type(heads) is int else None,
        layer_norm_eps=float(eps) if isinstance(eps, (int, float)) else None,
        said_by="config.json",
    )
    return Return(class_name, family, rules, wishes)


def _class_name(config: Mapping[str, object]) -> str:
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        return architectures[0]
    return {"vit": "ViTModel", "resnet": "ResNetModel"}.get(str(config.get("model_type")), "")


def _vit(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino", (
        copy("pos_embed", vit.POSITIONS),
        *vit.RULES,
        *vit.pooler_rules(_size(where, config, "hidden_size")),
    )


def _vit_classifier(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    backbone = (copy("pos_embed", vit.POSITIONS), *vit.RULES)
    return "dino", vit.classifying(backbone, _classifier(config, "head"))


def _dinov2_classifier(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    width, depth = _size(where, config, "hidden_size"), _size(where, config, "num_hidden_layers", MAX_LAYERS)
    return "dino", dinov2.probe_rules(copy("pos_embed", dinov2.POSITIONS), width, depth)


def _resnet(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino_resnet", resnet.RULES


def _resnet_classifier(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino_resnet", resnet.classifying(_classifier(config, "fc"))


_BUILDERS: Mapping[str, Callable[[str, Mapping[str, object]], tuple[str, tuple[Rule, ...]]]] = {
    "ViTModel": _vit,
    "ViTForImageClassification": _vit_classifier,
    "Dinov2ForImageClassification": _dinov2_classifier,
    "ResNetModel": _resnet,
    "ResNetForImageClassification": _resnet_classifier,
}


def _classifier(config: Mapping[str, object], otherwise: str) -> str:
    """The name that the original keeps its classifier under: ours to know from the field that we wrote."""
    record = config.get("dinoport")
    name = record.get("classifier") if isinstance(record, dict) else None
    return name if name in ("head", "fc", "linear") else otherwise


def _size(where: str, config: Mapping[str, object], field: str, limit: int = 1_000_000) -> int:
    value = config.get(field)
    if type(value) is int and 0 < value <= limit:
        return value
    raise UnknownModelError(
        f"{where} cannot go back: its config.json does not say how large the model is",
        where=f"config.json: {field}",
        expected=f"a whole number from 1 to {limit}",
        found=repr(value),
        next_step="save the model again with save_pretrained",
    )
