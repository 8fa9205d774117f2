"""Which class computes what a model computes, and which classes a folder can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dinoport.codebases.target import Target
from dinoport.errors import UnknownModelError
from dinoport.model import Model
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED, Interpolation
from dinoport.networks.network import Features
from dinoport.request import Request


@dataclass(frozen=True)
class Form:
    """A class and its relatives. `model_types` leads from what a config calls a model to the class that it means.

    `cell` are the pixels along a side of one place of the feature map, where there is one in the place of tokens;
    `has_table` says that there is a table of positions, which Transformers resamples for other sizes.
    `module` is imported once a form is chosen. It has `target(model, request, labels)`, and `sketch(where, config)`,
    which gives the name of the family that a folder came from and the table of its names.
    """

    network: str
    module: str
    model_types: Mapping[str, str]
    classes: tuple[str, ...]
    cell: int | None = None
    has_table: bool = False
    fits: Callable[[Any], bool] = lambda architecture: True

    @property
    def code(self) -> Any:
        return import_module(f"dinoport.codebases.transformers.{self.module}")


def _is_plain(architecture: Any) -> bool:
    """Whether a ViT is what ViTModel computes: its classifier sees the CLS token alone."""
    classifier = architecture.classifier
    return architecture.is_plain and (classifier is None or classifier.features is Features.CLS)


FORMS: tuple[Form, ...] = (
    Form("vit", "vit", {"vit": "ViTModel"}, ("ViTModel", "ViTForImageClassification"), None, True, _is_plain),
    Form(
        "vit",
        "dinov2",
        {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"},
        (
            "Dinov2Model",
            "Dinov2ForImageClassification",
            "Dinov2WithRegistersModel",
            "Dinov2WithRegistersForImageClassification",
        ),
        has_table=True,
    ),
    Form("rotary_vit", "dinov3_vit", {"dinov3_vit": "DINOv3ViTModel"}, ("DINOv3ViTModel",)),
    Form("convnext", "dinov3_convnext", {"dinov3_convnext": "DINOv3ConvNextModel"}, ("DINOv3ConvNextModel",), 32),
    Form("resnet", "resnet", {"resnet": "ResNetModel"}, ("ResNetModel", "ResNetForImageClassification"), 32),
)
"""The first that fits is taken."""

CLASSES = {name: form for form in FORMS for name in form.classes}

OF_MODEL_TYPE = {model_type: form for form in FORMS for model_type in form.model_types}

MODEL_TYPES = {model_type: name for form in FORMS for model_type, name in form.model_types.items()}
"""The class of a config that names none."""


def class_name_of(config: Mapping[str, object]) -> str:
    """The class that a config names, or means; empty without one."""
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        return architectures[0]
    return MODEL_TYPES.get(str(config.get("model_type")), "")


def is_known_class(config: Mapping[str, object]) -> bool:
    """Whether config.json is that of a class that is read here."""
    return class_name_of(config) in CLASSES


def target_of(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The class of Transformers that computes what this model computes.

    Raises UnknownModelError where none does, and SettingError for a request that does not fit it.
    """
    architecture = model.architecture
    for form in FORMS:
        if form.network == architecture.network.name and form.fits(architecture):
            found: Target = form.code.target(model, request, labels)
            return found
    raise UnknownModelError(
        f"no class of Transformers computes this model, a {model.family.title}",
        found=str(architecture),
        next_step="dinoport inspect, which says what the file holds",
    )


def label_fields(classes: int, labels: Mapping[int, str] | None) -> dict[str, object]:
    """`id2label` and `label2id` of a classifier: its names, else Transformers' own `LABEL_0`, `LABEL_1` …"""
    names = labels or {index: f"LABEL_{index}" for index in range(classes)}
    return {
        "id2label": {str(index): names[index] for index in range(classes)},
        "label2id": {names[index]: index for index in range(classes)},
    }


def own_interpolation(class_name: str) -> Interpolation | None:
    """How a class resamples its position table, whatever the original did; None where it has none."""
    form = CLASSES.get(class_name)
    if form is None or not form.has_table:
        return None
    return TO_SIZE_ANTIALIASED if class_name.startswith("Dinov2WithRegisters") else TO_SIZE
