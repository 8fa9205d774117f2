"""ResNetModel and ResNetForImageClassification: the home of DINO's ResNet-50."""

from __future__ import annotations

from dinoport.codebases.dino.resnet import FAMILY
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.transformers.common import input_size, label_fields, original_fields, prepared
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.mapping.rule import Rule, copy
from dinoport.networks.resnet.architecture import STEM_WIDTH, DinoResNet

# fmt: off
RULES: tuple[Rule, ...] = (
    copy("conv1.weight",                             "embedder.embedder.convolution.weight"),
    copy("bn1.{p}",                                  "embedder.embedder.normalization.{p}"),
    copy("layer{s+1}.{b}.conv{k+1}.weight",          "encoder.stages.{s}.layers.{b}.layer.{k}.convolution.weight"),
    copy("layer{s+1}.{b}.bn{k+1}.{p}",               "encoder.stages.{s}.layers.{b}.layer.{k}.normalization.{p}"),
    copy("layer{s+1}.{b}.downsample.0.weight",       "encoder.stages.{s}.layers.{b}.shortcut.convolution.weight"),
    copy("layer{s+1}.{b}.downsample.1.{p}",          "encoder.stages.{s}.layers.{b}.shortcut.normalization.{p}"),
)
# fmt: on

EVALUATION_SIZE = 224
"""Pixels of the crop that DINO evaluates with; a ResNet itself takes any size."""


def target(model: DinoResNet, preprocessing: Preprocessing, choices: Choices) -> Target:
    """The Transformers class for DINO's ResNet-50, with its classifier if it has one."""
    size = input_size(choices, EVALUATION_SIZE, 1)
    classes = model.classes or model.linear_classes
    original_name = "fc" if model.classes else "linear"
    class_name = "ResNetForImageClassification" if classes else "ResNetModel"
    config: dict[str, object] = {
        "architectures": [class_name],
        "model_type": "resnet",
        "num_channels": model.channels,
        "embedding_size": STEM_WIDTH,
        "hidden_sizes": list(model.widths),
        "depths": list(model.depths),
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": not model.stride_in_3x3,
        **original_fields("dino_resnet", classifier=original_name if classes else None),
    }
    rules = RULES
    if classes:
        config |= label_fields(classes, choices)
        rules = classifying(original_name)
    return Target(
        class_name=class_name,
        config=config,
        rules=(*rules, *FAMILY.drops),
        preprocessing=prepared(preprocessing, size, choices, model.channels),
        image_size=size,
        channels=model.channels,
    )


def classifying(original_name: str) -> tuple[Rule, ...]:
    """The rules of ResNetForImageClassification; its classifier comes from `fc` or `linear` of the original."""
    return (*(rule.under("resnet.") for rule in RULES), copy(f"{original_name}.{{p}}", "classifier.1.{p}"))
