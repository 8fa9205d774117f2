"""A classifier that was trained whole beside an adapter, over a base that has none, or whose own is left aside."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dinoport.codebases.peft.adapter import Adapter
from dinoport.codebases.transformers.poolers import OWN_POOLER
from dinoport.mapping.decoding import decode
from dinoport.mapping.plan import Dropped
from dinoport.mapping.rule import copy
from dinoport.model import Model, Origin, Setting
from dinoport.networks.network import Classifier, Features
from dinoport.tensor import TensorRef

OVER: Mapping[str, tuple[str, Features, int]] = {
    "vit.": ("ViTForImageClassification", Features.CLS, 1),
    "dinov2.": ("Dinov2ForImageClassification", Features.CLS_MEAN, 2),
    "dinov2_with_registers.": ("Dinov2WithRegistersForImageClassification", Features.CLS_MEAN, 2),
}
"""What classes of Transformers call their backbone, and what their `classifier` looks at, of so many widths."""

LAYERS = ("classifier", "head", "fc", "linear", "heads", "score")
"""What a classifier is called in modules that have one beside their backbone."""

DENSE = "pooler.dense"

ASIDE = "trained whole beside the adapter; what it looks at is not known"


def with_classifier(model: Model, adapter: Adapter) -> tuple[Model, Adapter]:
    """The base with the adapter's classifier where a class of Transformers says what that looks at, and the adapter
    without it. Elsewhere it is left aside, with a reason.
    """
    layer = {name: tensor for name, tensor in adapter.saved.items() if _is_beside(name, model, adapter)}
    if not layer:
        return model, adapter
    saved = {name: tensor for name, tensor in adapter.saved.items() if name not in layer}
    rest = replace(adapter, saved=saved)
    own = _of_class(model, adapter, layer)
    if own is None:
        aside = [Dropped(name, each.dtype, each.shape, ASIDE) for name, each in layer.items()]
        decoding = replace(model.decoding, aside=(*model.decoding.aside, *aside))
        return replace(model, decoding=decoding), rest
    title, features = own
    tensors = {f"classifier.{leaf}": layer[f"classifier.{leaf}"] for leaf in ("weight", "bias")}
    steps = decode(
        {name: each.renamed(name) for name, each in tensors.items()}, (copy("classifier.{p}", "classifier.{p}"),)
    ).steps
    architecture: Any = model.architecture
    poolers = [each.tensor for each in model.decoding.made]
    aside = [Dropped(each.name, each.dtype, each.shape, f"{title} has no pooler") for each in poolers]
    return replace(
        model,
        architecture=replace(architecture, classifier=Classifier(features, tensors["classifier.weight"].shape[0])),
        decoding=replace(
            model.decoding,
            steps={**model.decoding.steps, **steps},
            made=(),
            aside=(*model.decoding.aside, *aside),
        ),
        settings=(*model.settings, Setting("head columns", features.value, Origin.INFERRED, f"as {title} has them")),
        remarks=(*model.remarks, f"the classifier was trained beside the adapter, as that of {title}"),
    ), rest


def without_pooler(model: Model, adapter: Adapter) -> tuple[Model, Adapter]:
    """The adapter without what it does to Transformers' pooler, which is left aside as the base's own is."""
    pairs = {layer: pair for layer, pair in adapter.pairs.items() if layer != DENSE}
    saved = {name: each for name, each in adapter.saved.items() if not name.startswith(f"{DENSE}.")}
    halves = [half for layer, pair in adapter.pairs.items() if layer not in pairs for half in pair[:2]]
    gone = [*halves, *(each for name, each in adapter.saved.items() if name not in saved)]
    aside = [Dropped(each.name, each.dtype, each.shape, OWN_POOLER) for each in gone]
    decoding = replace(model.decoding, aside=(*model.decoding.aside, *aside))
    return replace(model, decoding=decoding), replace(adapter, pairs=pairs, saved=saved)


def _is_beside(name: str, model: Model, adapter: Adapter) -> bool:
    """Whether a tensor is a classifier's that the base lacks, or leaves aside."""
    first = name.partition(".")[0]
    is_layer = first in LAYERS and not any(layer.startswith(f"{first}.") for layer in adapter.pairs)
    has_one = getattr(model.architecture, "classifier", None) is not None
    return is_layer and not has_one


def _of_class(model: Model, adapter: Adapter, layer: Mapping[str, TensorRef]) -> tuple[str, Features] | None:
    """The class whose classifier a layer is, and what that looks at."""
    prefixes = {next((own for own in OVER if name.startswith(own)), None) for name in adapter.pairs}
    prefix = prefixes.pop() if len(prefixes) == 1 else None
    width = getattr(model.architecture, "width", 0)
    if prefix is None or layer.keys() != {"classifier.weight", "classifier.bias"}:
        return None
    title, features, widths = OVER[prefix]
    classes = layer["classifier.bias"].shape
    fits = len(classes) == 1 and layer["classifier.weight"].shape == (*classes, widths * width)
    return (title, features) if fits and hasattr(model.architecture, "classifier") else None
