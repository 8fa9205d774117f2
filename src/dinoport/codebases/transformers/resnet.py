"""ResNetModel and ResNetForImageClassification: the home of DINO's ResNet-50."""

from collections.abc import Mapping
from typing import Any

from dinoport.codebases.record import original_fields
from dinoport.codebases.target import Target, form_of, input_size
from dinoport.codebases.transformers.forms import class_name_of, label_fields
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Model
from dinoport.networks.resnet.architecture import STEM_WIDTH, ResNet
from dinoport.request import Request

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


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The Transformers class for DINO's ResNet-50, with its classifier if it has one."""
    network = model.architecture_as(ResNet)
    size = input_size(request, network.image_size, 1)
    classes = network.classifier.classes if network.classifier else None
    name = "ResNetForImageClassification" if classes else "ResNetModel"
    config: dict[str, object] = {
        "architectures": [name],
        "model_type": "resnet",
        "num_channels": network.channels,
        "embedding_size": STEM_WIDTH,
        "hidden_sizes": list(network.widths),
        "depths": list(network.depths),
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": not network.stride_in_3x3,
        **original_fields(model.family.name, classifier=model.classifier),
        **(label_fields(classes, labels) if classes else {}),
    }
    return form_of(model, request, name, config, CLASSIFYING if classes else RULES, size)


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "dino_resnet", CLASSIFYING if class_name_of(config).endswith("ForImageClassification") else RULES


OWN_CLASSIFIER = "fc"


def outputs(result: Any, backbone: Any) -> dict[str, Any]:
    logits = {"logits": result.logits} if "logits" in result else {}
    return {"feature_map": backbone.last_hidden_state, "pooled": backbone.pooler_output.flatten(1), **logits}


CLASSIFYING = (*(rule.under("resnet.") for rule in RULES), copy("classifier.{p}", "classifier.1.{p}"))
"""The rules of ResNetForImageClassification."""
