"""Read DINO's ResNet-50: its names are torchvision's, its sizes fixed."""

from collections.abc import Callable, Mapping

from dinoport.codebases.codebase import Evidence, HubEntry, Reading
from dinoport.codebases.dino.trained import SIGNS as SIGNS
from dinoport.codebases.drops import CENTER, COUNT, OF_DINO, uncounted, with_frozen_norms
from dinoport.codebases.shapes import required
from dinoport.errors import UnknownModelError
from dinoport.mapping.claims import Problem, compare_shapes
from dinoport.mapping.rule import Rule
from dinoport.model import Family, Origin, Setting, Wishes, fixed
from dinoport.networks.network import Classifier, Features
from dinoport.networks.preprocessing import EVALUATION
from dinoport.networks.resnet.architecture import ResNet
from dinoport.tensor import Shape

written = with_frozen_norms


def counted_or_frozen(rules: tuple[Rule, ...]) -> Callable[[Mapping[str, Shape], Wishes], tuple[Rule, ...]]:
    """The table of other names, for norms that are frozen too."""
    return lambda shapes, wishes: (*rules, *uncounted(shapes, ResNet().unused))


FIXED = {"stride": "in the 3×3", "dilation": "none", "BatchNorm eps": 1e-5}
"""What torchvision's ResNet-50 computes with, and no tensor shows."""

FROZEN = Setting(
    "frozen BatchNorm",
    "eps 1e-05, not dilated",
    Origin.ASSUMED,
    "detectors of torchvision have eps 0, DETR-DC5 dilates, and no tensor shows it",
    doubted=True,
)


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINO ResNet-50.

    Raises PlanError where the stem cannot be read, UnknownModelError where its training says that it dilates.
    """
    shapes = evidence.shapes
    if evidence.arguments.get("dilation"):
        raise UnknownModelError(
            f"{evidence.where} holds a ResNet that dilates where a ResNet-50 strides",
            expected="a ResNet as torchvision's resnet50 is by default",
            found="dilation in the arguments of its training",
            cause="DETR's DC5 and its like",
            next_step="keep it in its own code",
        )
    stem = required(shapes, "conv1.weight", 4, evidence.where)
    rows = shapes.get("classifier.weight")
    architecture = ResNet(
        channels=stem[1],
        classifier=Classifier(Features.POOLED, rows[0]) if rows else None,
        image_size=(evidence.preprocessing or EVALUATION).size,
    )
    frozen = any(name.endswith(COUNT) for name in evidence.declared)
    settings = (
        Setting("channels", stem[1], Origin.STORED, "conv1.weight"),
        Setting("depths", "3-4-6-3", Origin.STORED, "numbered blocks"),
        *fixed(FIXED, Origin.ASSUMED, "as in torchvision's ResNet-50"),
        *([FROZEN] if frozen else []),
    )
    own = architecture.tensors()
    deeper = [
        Problem(name, "belongs to no ResNet-50") for name in shapes if name.startswith("layer") and name not in own
    ]
    return Reading(architecture, settings, (*compare_shapes(shapes, own), *deeper))


def hub_entry(architecture: ResNet, image_size: int) -> HubEntry | None:
    usual = ResNet(classifier=architecture.classifier, image_size=architecture.image_size)
    return HubEntry("facebookresearch/dino", "dino_resnet50") if architecture == usual else None


FAMILY = Family(
    name="dino_resnet",
    title="DINO ResNet-50",
    upstream="facebookresearch/dino",
    drops=OF_DINO,
    states=(CENTER,),
    preprocessing=EVALUATION,
    classifiers=("linear", "fc"),
)
