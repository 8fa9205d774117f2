"""Dinov2ForImageClassification as the home of a DINO ViT with a linear head over CLS token and patch mean.

ViTForImageClassification classifies the CLS token alone; Dinov2's classifier takes both. Its backbone computes the
same once its layer scales are ones and its mask token is left out.
"""

from __future__ import annotations

from dinoport.errors import SettingError
from dinoport.families.dino.architecture import DinoViT
from dinoport.families.dino.family import FAMILY as DINO
from dinoport.mapping.constants import ones
from dinoport.mapping.rule import Rule, copy, deinterleave, make, split_rows
from dinoport.targets.target import Choices, Target
from dinoport.targets.transformers.common import input_size, label_fields, original_fields, position_rule, prepared

# fmt: off
RULES: tuple[Rule, ...] = (
    copy("cls_token",                 "embeddings.cls_token"),
    copy("patch_embed.proj.{p}",      "embeddings.patch_embeddings.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",      "encoder.layer.{i}.norm1.{p}"),
    split_rows("blocks.{i}.attn.qkv.{p}", ("encoder.layer.{i}.attention.attention.query.{p}",
                                           "encoder.layer.{i}.attention.attention.key.{p}",
                                           "encoder.layer.{i}.attention.attention.value.{p}")),
    copy("blocks.{i}.attn.proj.{p}",  "encoder.layer.{i}.attention.output.dense.{p}"),
    copy("blocks.{i}.norm2.{p}",      "encoder.layer.{i}.norm2.{p}"),
    copy("blocks.{i}.mlp.fc1.{p}",    "encoder.layer.{i}.mlp.fc1.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "encoder.layer.{i}.mlp.fc2.{p}"),
    copy("norm.{p}",                  "layernorm.{p}"),
)
INTERLEAVED_CLASSIFIER: tuple[Rule, ...] = (
    deinterleave("linear.weight",     "classifier.weight"),
    copy("linear.bias",               "classifier.bias"),
)
# fmt: on

POSITIONS = "embeddings.position_embeddings"
NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"


def target_for_probe(model: DinoViT, choices: Choices) -> Target:
    """A DINO ViT with its linear classifier over CLS token and patch mean."""
    if model.probe is None:
        raise ValueError("a DINO ViT without a probe belongs to ViTModel")
    size = input_size(choices, model.image_size, model.patch_size)
    config: dict[str, object] = {
        "architectures": ["Dinov2ForImageClassification"],
        "model_type": "dinov2",
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.heads,
        "mlp_ratio": mlp_ratio(model.mlp_hidden, model.width),
        "hidden_act": "gelu",
        "layer_norm_eps": model.layer_norm_eps,
        "image_size": size,
        "patch_size": model.patch_size,
        "num_channels": model.channels,
        "qkv_bias": model.qkv_bias,
        "layerscale_value": 1.0,
        "use_swiglu_ffn": False,
        "use_mask_token": False,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.02,
        **label_fields(model.probe.classes, choices),
        **original_fields("dino", "linear"),
    }
    positions = position_rule(POSITIONS, size, model.image_size, model.patch_size, model.interpolation)
    return Target(
        class_name="Dinov2ForImageClassification",
        config=config,
        rules=(*probe_rules(positions, model.width, model.depth), *DINO.drops),
        preprocessing=prepared(DINO.preprocessing, size, choices),
        image_size=size,
        channels=model.channels,
        baked_from=model.image_size if size != model.image_size else None,
        interpolation=model.interpolation,
    )


def probe_rules(positions: Rule, width: int, depth: int) -> tuple[Rule, ...]:
    scales = (
        make(f"encoder.layer.{i}.layer_scale{n}.lambda1", ones(width), because=NO_LAYER_SCALE)
        for i in range(depth)
        for n in (1, 2)
    )
    return (*(rule.under("dinov2.") for rule in (positions, *RULES, *scales)), *INTERLEAVED_CLASSIFIER)


def mlp_ratio(hidden: int, width: int) -> int:
    """Dinov2Config knows the hidden width as a whole multiple only. Raises SettingError where it is none."""
    if hidden % width:
        raise SettingError(
            "Dinov2Config cannot express this MLP",
            expected=f"a hidden width that is a whole multiple of {width}",
            found=str(hidden),
            cause="transformers 5 takes mlp_ratio as a whole number only",
            next_step="no class of Transformers fits; convert the backbone without --head",
        )
    return hidden // width
