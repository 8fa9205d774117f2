"""A model and an adapter of PEFT's for it, from two places: one model, with the adapter merged into it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dinoport.codebases import catalogue
from dinoport.codebases.peft.adapter import Adapter, adapted, read_adapter
from dinoport.codebases.peft.classifier import with_classifier, without_pooler
from dinoport.codebases.transformers.forms import is_known_class
from dinoport.codebases.transformers.signs import PATCHES, ROTARY_PATCHES
from dinoport.codebases.transformers.told_class import with_class
from dinoport.errors import SettingError
from dinoport.finding.models import Provenance, read_model
from dinoport.finding.sources import locate
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.transformers_folder import base_beside
from dinoport.mapping.rule import Rule
from dinoport.model import Model, Wishes
from dinoport.progress import Progress
from dinoport.request import Request
from dinoport.shown.address import shown_source
from dinoport.tensor import Shape

OUTSIDE = re.compile(r"^.*?(?=(?:encoder\.layer|model\.layer|layers?)\.\d)")
"""What stands before the layers of a class of Transformers."""


def read_adapted(
    checkpoint: Checkpoint,
    base: Checkpoint,
    request: Request,
    claimed: frozenset[str] = frozenset(),
    *,
    weigh_heads: bool = False,
) -> tuple[Model, Provenance]:
    """The base's model with the adapter of `checkpoint` merged into it. Raises as `read_model` does.

    UnknownModelError for an adapter that is not merged here, or is for another model.
    """
    from dinoport.codebases.transformers.reading import refuse_unlike

    adapter = read_adapter(checkpoint.where, checkpoint.adapter or {}, checkpoint.tensors)
    model, provenance = read_model(base, request, None, claimed, weigh_heads=weigh_heads)
    own = model
    model, adapter = without_pooler(*with_classifier(model, adapter))
    if is_known_class(base.config or {}):
        plain = replace(own, decoding=replace(own.decoding, made=model.decoding.made))
        refuse_unlike(base.where, base.config or {}, plain)
    decoding, remarks = adapted(model.decoding, adapter, [model.decoding.rules, *_tables(model, adapter)])
    told = (f"the adapter's base is {base.where}", *remarks, *checkpoint.remarks)
    return replace(model, where=checkpoint.where, decoding=decoding, remarks=(*model.remarks, *told)), provenance


def _tables(model: Model, adapter: Adapter) -> Iterator[tuple[Rule, ...]]:
    """The tables by which a class of Transformers may have named the layers in memory."""
    architecture: Any = model.architecture
    sizes: dict[str, Shape] = {name: (getattr(architecture, "width", 1), 1) for name in (PATCHES, ROTARY_PATCHES)}
    names = [f"{layer}.weight" for layer in adapter.pairs] + list(adapter.saved)
    shapes = {OUTSIDE.sub("", name, count=1): (1, 1) for name in names} | sizes
    if getattr(architecture, "feed_forward", None) == "swiglu" and not any("weights_in" in name for name in names):
        shapes[".mlp.gate_proj.weight"] = (1, 1)  # the name that tells it, though the adapter may be for its sibling
    own = model.family.name
    whose = next((family for family, names in catalogue.RELATIVES.items() if own in names), own)
    whose = next(
        (named for named, unknown in catalogue.UNTOLD.items() if unknown == whose), whose
    )  # whose names it has
    for naming in catalogue.NAMINGS:
        if naming.codebase == "Transformers" and naming.code.FAMILY.name in (own, whose):
            yield naming.rules(shapes, Wishes(num_heads=getattr(architecture, "heads", None)))


def open_base(adapter: Checkpoint, request: Request, on_progress: Progress) -> Checkpoint:
    """The model that an adapter is for. Raises SettingError where it is not given, and not beside the adapter."""
    if request.base is not None:
        return locate(request.base, on_progress).open(on_progress)
    path = base_beside(Path(adapter.where), adapter.adapter)
    if path is not None:
        return with_class(open_checkpoint(path))
    name = (adapter.adapter or {}).get("base_model_name_or_path")
    is_at_hub = isinstance(name, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name)
    said = "which is that model on the Hub" if is_at_hub else "the model that it was trained on"
    base = f"hf://{name}" if is_at_hub else "SOURCE"
    raise SettingError(
        f"{adapter.where} holds a LoRA adapter of PEFT's, and its base is not beside it",
        where="adapter_config.json: base_model_name_or_path",
        expected="a path from the adapter's folder to one beside it, or `base`",
        found=shown_source(name) if isinstance(name, str) and name else "nothing",
        cause="an adapter holds the differences alone; a place that only the adapter names is not opened",
        next_step=f"add `base={base!r}`, {said}",
        missing="base",
    )
