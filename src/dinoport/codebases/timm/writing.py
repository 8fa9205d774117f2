"""timm as a target: config.json, the weights in one file, and the lines that load both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dinoport.codebases.fields import Finding
from dinoport.codebases.record import with_losses
from dinoport.codebases.target import Order, Target, assumed_rule
from dinoport.codebases.timm.card import address
from dinoport.codebases.timm.card import cautions as cautions
from dinoport.codebases.timm.card import example as example
from dinoport.codebases.timm.comparing import builds_alike, compare_config
from dinoport.codebases.timm.refusals import refuse
from dinoport.mapping.plan import Plan
from dinoport.model import Model
from dinoport.request import Request
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.timm.running import TimmRunner
    from dinoport.files.output_file import WrittenFile

HAS_CARD = True

LIBRARY, OWNER = "timm", "timm"

FORMS = {"vit": "vit", "rotary_vit": "eva", "convnext": "dinov3_convnext", "resnet": "resnet"}
"""The module of each network's form."""


def target_of(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """The builder of timm's that computes what this model computes.

    Raises UnknownModelError where none does, and SettingError for a request that does not fit it.
    """
    module = FORMS.get(model.architecture.network.name)
    if module is None:
        raise refuse(model, "this network", str(model.architecture))
    found: Target = import_module(f"dinoport.codebases.timm.{module}").target(model, request, labels)
    return replace(found, rule=assumed_rule(model))


def documents(target: Target, plan: Plan, lost: Sequence[str], licence: str | None) -> dict[str, dict[str, object]]:
    """The content of config.json. `licence` is of the original's weights, where it is known."""
    config = with_losses(target.config, lost)
    described = config["pretrained_cfg"]
    if licence and isinstance(described, dict):
        config["pretrained_cfg"] = {**described, "license": licence}
    return {"config.json": config}


def write(target: Target, order: Order) -> list[WrittenFile]:
    """Write weights and documents; timm reads no index, so the weights are one file. Raises FolderError."""
    from dinoport.files.json_file import write_json
    from dinoport.formats.safetensors.writer import write_safetensors

    weights = write_safetensors(order.folder / "model.safetensors", order.steps, on_bytes=order.on_bytes)
    return [weights, *(write_json(order.folder / name, content) for name, content in order.documents.items())]


def findings(
    target: Target, name: str, expected: Mapping[str, object], found: Mapping[str, object]
) -> tuple[Finding, ...]:
    return tuple(compare_config(expected, found))


def is_safe(
    expected: Mapping[str, Mapping[str, object]], config: Mapping[str, object], tensors: Mapping[str, TensorRef]
) -> bool:
    return builds_alike(expected["config.json"], config)


def runner(folder: Path, form: str, *, pooler: bool | None, without: Collection[str] = ()) -> TimmRunner:
    from dinoport.codebases.timm.running import TimmRunner

    return TimmRunner(folder, form)


def processor(folder: Path) -> object:
    from dinoport.codebases.timm.running import TimmTransform

    return TimmTransform(folder)


def classes(target: Target) -> tuple[str, ...]:
    """None of Transformers': timm runs the folder."""
    return ()


def tag(target: Target) -> str:
    return "timm"


def usage(target: Target, folder: str) -> tuple[str, ...]:
    """Two lines of Python that load the folder."""
    return "import timm", f"model = timm.create_model({address(folder)}, pretrained=True).eval()"
