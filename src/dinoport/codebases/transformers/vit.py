"""ViTModel and ViTForImageClassification: the home of DINO's own ViTs.

Names on disk are the same in transformers 4.57 and 5.x; names in memory are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dinoport.codebases.forming import baked_from, input_size, position_rule, prepared
from dinoport.codebases.record import original_fields
from dinoport.codebases.target import Target
from dinoport.codebases.transformers.forms import class_name_of, label_fields
from dinoport.codebases.transformers.stated_sizes import size_of
from dinoport.mapping.constants import identity, zeros
from dinoport.mapping.rule import Rule, copy, make, split_rows
from dinoport.model import Model
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

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


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """ViTModel, or ViTForImageClassification for a model with a classifier over the CLS token."""
    vit: ViT = model.architecture  # type: ignore[assignment]  # the form is chosen by the network
    size = input_size(request, vit.image_size, vit.patch_size)
    classes = vit.classifier.classes if vit.classifier else None
    pooler = classes is None and request.pooler == "identity"
    class_name = "ViTForImageClassification" if classes else "ViTModel"
    config: dict[str, object] = {
        "architectures": [class_name],
        "model_type": "vit",
        "hidden_size": vit.width,
        "num_hidden_layers": vit.depth,
        "num_attention_heads": vit.heads,
        "intermediate_size": vit.mlp_hidden,
        "hidden_act": "gelu",
        "layer_norm_eps": vit.layer_norm_eps,
        "image_size": size,
        "patch_size": vit.patch_size,
        "num_channels": vit.channels,
        "qkv_bias": vit.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "encoder_stride": vit.patch_size,
        **original_fields(model.family.name, classifier=model.classifier, baked_from=baked_from(size, vit.image_size)),
        **(label_fields(classes, labels) if classes else {}),
        **({"pooler_act": "linear", "pooler_output_size": vit.width} if pooler else {}),
    }
    positions = position_rule(POSITIONS, size, vit.image_size, vit.patch_size, vit.interpolation)
    backbone = (positions, *RULES)
    return Target(
        form=class_name,
        title=class_name,
        config=config,
        rules=classifying(backbone) if classes else (*backbone, *(pooler_rules(vit.width) if pooler else ())),
        preprocessing=prepared(model.preprocessing, size, request, vit.channels),
        image_size=size,
        channels=vit.channels,
        baked_from=baked_from(size, vit.image_size),
        table=f"vit.{POSITIONS}" if classes else POSITIONS,
        interpolation=vit.interpolation,
        resamples_alike=vit.interpolation == TO_SIZE,
        pooler=None if classes else pooler,
        classifies=classes is not None,
    )


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    """The family that a folder came from, and the table of its names."""
    backbone = (copy(ViT.positions, POSITIONS), *RULES)
    if class_name_of(config).endswith("ForImageClassification"):
        return "dino", classifying(backbone)
    return "dino", (*backbone, *pooler_rules(size_of(where, config, "hidden_size")))


def classifying(backbone: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of ViTForImageClassification."""
    return (*(rule.under("vit.") for rule in backbone), copy("classifier.{p}", "classifier.{p}"))


def pooler_rules(width: int) -> tuple[Rule, ...]:
    return (
        make("pooler.dense.weight", identity(width), because=POOLER),
        make("pooler.dense.bias", zeros(width), because=POOLER),
    )
