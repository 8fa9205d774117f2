"""ViTModel and ViTForImageClassification: the home of DINO's own ViTs.

Names on disk are the same in transformers 4.57 and 5.x; names in memory are not.
"""

from __future__ import annotations

from collections.abc import Iterable

from dinoport.codebases.dino.vit import FAMILY
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.transformers.common import (
    baked_from,
    input_size,
    label_fields,
    original_fields,
    position_rule,
    prepared,
)
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.mapping.constants import identity, zeros
from dinoport.mapping.rule import Rule, copy, make, split_rows
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.vit.architecture import DinoViT

# fmt: off
RULES: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",      "encoder.layer.{i}.layernorm_before.{p}"),
    split_rows("blocks.{i}.attn.qkv.{p}", ("encoder.layer.{i}.attention.attention.query.{p}",
                                           "encoder.layer.{i}.attention.attention.key.{p}",
                                           "encoder.layer.{i}.attention.attention.value.{p}")),
    copy("blocks.{i}.attn.proj.{p}",  "encoder.layer.{i}.attention.output.dense.{p}"),
    copy("blocks.{i}.norm2.{p}",      "encoder.layer.{i}.layernorm_after.{p}"),
    copy("blocks.{i}.mlp.fc1.{p}",    "encoder.layer.{i}.intermediate.dense.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "encoder.layer.{i}.output.dense.{p}"),
    copy("norm.{p}",                  "layernorm.{p}"),
)
# fmt: on

POSITIONS = "embeddings.position_embeddings"
POOLER = "an identity pooler: AutoModel finds no key missing, and pooler_output is the CLS token"


def target(model: DinoViT, preprocessing: Preprocessing, choices: Choices) -> Target:
    """The Transformers class for a DINO ViT, with its classifier if it has a plain one."""
    size = input_size(choices, model.image_size, model.patch_size)
    classes = model.classes or (model.probe.classes if model.probe else None)
    config: dict[str, object] = {
        "architectures": ["ViTForImageClassification" if classes else "ViTModel"],
        "model_type": "vit",
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.heads,
        "intermediate_size": model.mlp_hidden,
        "hidden_act": "gelu",
        "layer_norm_eps": model.layer_norm_eps,
        "image_size": size,
        "patch_size": model.patch_size,
        "num_channels": model.channels,
        "qkv_bias": model.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "encoder_stride": model.patch_size,
        **original_fields(
            "dino",
            classifier="head" if model.classes else "linear" if model.probe else None,
            baked_from=baked_from(size, model.image_size),
        ),
    }
    if classes:
        config |= label_fields(classes, choices)
    elif choices.pooler == "identity":
        config |= {"pooler_act": "linear", "pooler_output_size": model.width}
    return Target(
        class_name="ViTForImageClassification" if classes else "ViTModel",
        config=config,
        rules=rules_for(model, choices, size),
        preprocessing=prepared(preprocessing, size, choices, model.channels),
        image_size=size,
        channels=model.channels,
        baked_from=baked_from(size, model.image_size),
        interpolation=model.interpolation,
        resamples_alike=model.interpolation == TO_SIZE,
    )


def rules_for(model: DinoViT, choices: Choices, size: int) -> tuple[Rule, ...]:
    positions = position_rule(POSITIONS, size, model.image_size, model.patch_size, model.interpolation)
    if model.classes or model.probe:
        return (*classifying((positions, *RULES), "head" if model.classes else "linear"), *FAMILY.drops)
    pooler = pooler_rules(model.width) if choices.pooler == "identity" else ()
    return (positions, *RULES, *pooler, *FAMILY.drops)


def classifying(backbone: Iterable[Rule], original_name: str) -> tuple[Rule, ...]:
    """The rules of ViTForImageClassification; its classifier comes from `head` or `linear` of the original."""
    classifier = copy(f"{original_name}.{{p}}", "classifier.{p}")
    return (*(rule.under("vit.") for rule in backbone), classifier)


def pooler_rules(width: int) -> tuple[Rule, ...]:
    return (
        make("pooler.dense.weight", identity(width), because=POOLER),
        make("pooler.dense.bias", zeros(width), because=POOLER),
    )
