"""Recognise DINO's ResNet-50: its names are torchvision's, its sizes fixed."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.averaging import AVERAGED
from dinoport.codebases.dino.vit import PROJECTION_HEAD
from dinoport.codebases.family import Evidence, Family, Reading
from dinoport.codebases.preprocessing import EVALUATION
from dinoport.codebases.setting import Origin, Setting
from dinoport.codebases.shapes import required
from dinoport.mapping.resolve import compare_shapes
from dinoport.mapping.rule import drop
from dinoport.networks.resnet.architecture import DinoResNet
from dinoport.tensor import Shape

DROPS = (
    drop("head.mlp.{k}.{p}", because=PROJECTION_HEAD),
    drop("head.last_layer.{p}", because=PROJECTION_HEAD),
    AVERAGED,
)


def recognises(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a torchvision ResNet's with bottleneck blocks."""
    return "conv1.weight" in shapes and "layer1.0.conv3.weight" in shapes


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINO ResNet-50. Raises PlanError where the stem cannot be read."""
    shapes = {name: tensor.shape for name, tensor in evidence.tensors.items()}
    stem = required(shapes, "conv1.weight", 4, evidence.where)
    classifier, linear = shapes.get("fc.weight"), shapes.get("linear.weight")
    architecture = DinoResNet(
        channels=stem[1],
        classes=classifier[0] if classifier else None,
        linear_classes=linear[0] if linear else None,
    )
    settings = (
        Setting("channels", stem[1], Origin.STORED, "conv1.weight"),
        Setting("depths", "3-4-6-3", Origin.STORED, "numbered blocks"),
        Setting("stride", "in the 3×3", Origin.ASSUMED, "as in torchvision's ResNet-50"),
        Setting("BatchNorm eps", 1e-5, Origin.ASSUMED, "as in torchvision's ResNet-50"),
    )
    return Reading(architecture, settings, tuple(compare_shapes(shapes, architecture.tensors())))


FAMILY = Family(
    name="dino_resnet",
    title="DINO ResNet-50",
    upstream="facebookresearch/dino",
    recognises=recognises,
    read=read,
    drops=DROPS,
    preprocessing=EVALUATION,
    reference="dinoport.networks.resnet.forward",
    classifier="linear",
)
