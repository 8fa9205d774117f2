"""ViTModel and its relatives: the home of DINO's own ViTs, and of those with other tokens or another norm.

DeiT's classes have a distillation token, I-JEPA's no CLS token, BEiT's a norm of the mean in place of the final one.
Names on disk are those of ViTModel for all of them, the same in transformers 4.57 and 5.x; names in memory are not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dinoport.codebases.record import original_fields
from dinoport.codebases.target import Target, baked_from, form_of, input_size, position_rule
from dinoport.codebases.transformers.class_fields import MODEL_TYPE
from dinoport.codebases.transformers.forms import class_name_of, encoder_fields, label_fields
from dinoport.codebases.transformers.poolers import pooler_rules
from dinoport.codebases.transformers.stated_sizes import size_of
from dinoport.mapping.rule import Rule, copy, split_rows
from dinoport.model import Model
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

# fmt: off
RULES: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",      "encoder.layer.{i}.layernorm_before.{p}"),
    copy("blocks.{i}.attn.proj.{p}",  "encoder.layer.{i}.attention.output.dense.{p}"),
    copy("blocks.{i}.norm2.{p}",      "encoder.layer.{i}.layernorm_after.{p}"),
    copy("blocks.{i}.mlp.fc1.{p}",    "encoder.layer.{i}.intermediate.dense.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "encoder.layer.{i}.output.dense.{p}"),
    copy("norm.{p}",                  "layernorm.{p}"),
)
QKV = tuple(f"encoder.layer.{{i}}.attention.attention.{part}.{{p}}" for part in ("query", "key", "value"))
ATTENTION: tuple[Rule, ...] = (
    split_rows("blocks.{i}.attn.qkv.{p}", QKV),
)
# BEiT's keys have no bias. The softmax cancels it: all scores of a query get the same number more.
WITHOUT_KEY_BIAS: tuple[Rule, ...] = (
    split_rows("blocks.{i}.attn.qkv.weight", [name.replace("{p}", "weight") for name in QKV]),
    split_rows("blocks.{i}.attn.qkv.bias", [name.replace("{p}", "bias") if ".key." not in name else None
                                            for name in QKV], because="the softmax cancels a bias of keys"),
)
DISTILLATION: tuple[Rule, ...] = (
    copy("dist_token",                "embeddings.distillation_token"),
)
POOLED_NORM: tuple[Rule, ...] = (
    copy("fc_norm.{p}",               "pooler.layernorm.{p}"),
)
CLASSIFIER: tuple[Rule, ...] = (
    copy("classifier.{p}",            "classifier.{p}"),
)
CLASSIFIERS: tuple[Rule, ...] = (
    copy("classifier.{p}",            "cls_classifier.{p}"),
    copy("classifier_dist.{p}",       "distillation_classifier.{p}"),
)
# fmt: on

POSITIONS = "embeddings.position_embeddings"


class ViTClasses(NamedTuple):
    """A class of its own for each kind of ViT: `backbone` and `classifying` are its names, `fields` its config's.
    One without a class that classifies as originals do has none.

    `poolers` says that it has a pooler that can be made an identity. One that classifies has its backbone `below` a
    name, which is mostly that of its type.
    """

    model_type: str
    backbone: str
    classifying: str
    rules: tuple[Rule, ...]
    classifiers: tuple[Rule, ...] = CLASSIFIER
    fields: Mapping[str, object] = {}
    poolers: bool = False
    below: str = ""

    @property
    def inner(self) -> str:
        return self.below or f"{self.model_type}."


WITHOUT_CLS = tuple(rule for rule in RULES if rule.source and rule.source.template != "cls_token")
WITHOUT_NORM = tuple(rule for rule in RULES if rule.source and rule.source.template != "norm.{p}")
BEIT = {
    "use_mask_token": False,
    "use_absolute_position_embeddings": True,
    "use_relative_position_bias": False,
    "use_shared_relative_position_bias": False,
    "layer_scale_init_value": 0.0,
    "use_mean_pooling": True,
    "drop_path_rate": 0.0,
}

VIT = ViTClasses("vit", "ViTModel", "ViTForImageClassification", (*RULES, *ATTENTION), poolers=True)
DEIT = ViTClasses(
    "deit",
    "DeiTModel",
    "DeiTForImageClassificationWithTeacher",
    (*RULES, *ATTENTION, *DISTILLATION),
    CLASSIFIERS,
    poolers=True,
)
IJEPA = ViTClasses("ijepa", "IJepaModel", "", (*WITHOUT_CLS, *ATTENTION))
POOLED = ViTClasses(
    "beit", "BeitModel", "BeitForImageClassification", (*WITHOUT_NORM, *WITHOUT_KEY_BIAS, *POOLED_NORM), fields=BEIT
)
KINDS = {kind.model_type: kind for kind in (VIT, DEIT, IJEPA, POOLED)}

USUAL = {"vit": "dino", "deit": "deit", "ijepa": "ijepa", "beit": "mae", "vit_mae": "mae"}
"""Whose models these are, where nothing else tells it."""


def kind_of(vit: ViT) -> ViTClasses:
    """The kind that computes what a model computes."""
    if not vit.cls_token:
        return IJEPA
    return DEIT if vit.distillation_token else POOLED if vit.pooled_norm else VIT


def target(model: Model, request: Request, labels: Mapping[int, str] | None, kind: ViTClasses | None = None) -> Target:
    """The backbone's class, or the one with a classifier for a model that has one: of the kind that computes it, or of
    another that computes the same.
    """
    vit = model.architecture_as(ViT)
    kind = kind or kind_of(vit)
    size = input_size(request, vit.image_size, vit.patch_size)
    classes = vit.classifier.classes if vit.classifier else None
    pooler = kind.poolers and classes is None and request.pooler == "identity"
    class_name = kind.classifying if classes else kind.backbone
    config: dict[str, object] = {
        "architectures": [class_name],
        "model_type": kind.model_type,
        **encoder_fields(vit, size),
        "intermediate_size": vit.mlp_hidden,
        **({} if kind.fields else {"qkv_bias": vit.qkv_bias}),
        **({"encoder_stride": vit.patch_size} if kind.poolers else {}),
        **kind.fields,
        **original_fields(model.family.name, classifier=model.classifier, baked_from=baked_from(size, vit.image_size)),
        **(label_fields(classes, labels) if classes else {}),
        **({"pooler_act": "linear", "pooler_output_size": vit.width} if pooler else {}),
    }
    positions = position_rule(POSITIONS, vit, size)
    backbone = (positions, *kind.rules)
    rules = classifying(kind, backbone) if classes else (*backbone, *(pooler_rules(vit.width) if pooler else ()))
    return replace(
        form_of(model, request, class_name, config, rules, size),
        resamples_alike=vit.interpolation == TO_SIZE,
        pooler=pooler if kind.poolers and not classes else None,
    )


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    name = class_name_of(config)
    kind = KINDS[MODEL_TYPE[name]]
    usual = USUAL.get(str(config.get("model_type")), USUAL[kind.model_type])
    backbone = (copy(ViT.positions, POSITIONS), *kind.rules)
    if name == kind.classifying:
        return usual, classifying(kind, backbone)
    return usual, (*backbone, *(pooler_rules(size_of(where, config, "hidden_size")) if kind.poolers else ()))


OWN_CLASSIFIER = "head"


def arguments(config: object, images: object) -> dict[str, Any]:
    """It takes another size than its own only where it is asked to resample positions."""
    return {"interpolate_pos_encoding": True}


def classifying(kind: ViTClasses, backbone: Iterable[Rule]) -> tuple[Rule, ...]:
    return (*(rule.under(kind.inner) for rule in backbone), *kind.classifiers)
