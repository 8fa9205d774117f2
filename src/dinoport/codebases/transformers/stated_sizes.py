"""Whether a config describes a larger model than the weights beside it are: nothing is made up for such a one."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import ceil, isfinite, prod

from dinoport.codebases.transformers.class_fields import FIELDS, KINDS, classifies
from dinoport.codebases.transformers.forms import CLASSES, class_name_of
from dinoport.codebases.transformers.poolers import has_pooler
from dinoport.errors import SettingError, UnknownModelError
from dinoport.shown.text import counted, value_text
from dinoport.tensor import TensorRef

SMALL = 1024
"""No size up to this costs much by itself, however small the weights are."""

SMALL_MODEL = 1 << 20
"""Parameters that a model may have beyond twice those of its weights: a pooler, say, that is made up."""

SIZES = ("count", "counts", "size", "tokens", "ratio")

LAYERS = ("_hidden_layers", "depths")
"""Ends of the names of fields that count layers."""

FREE = ("encoder_stride",)
"""A size that takes no memory."""


def refuse_larger(where: str, config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> None:
    """Raise SettingError for a config of a larger model than the `tensors` are."""
    problems = [*too_large(config, tensors)]
    if problems:
        raise SettingError(
            f"{where} does not hold the model that its config.json describes",
            where="config.json",
            expected="a model as large as its weights",
            found="; ".join(problems[:5]),
            cause="a config of another model, or a folder that was made to mislead",
            next_step="fetch the folder again",
        )


def too_large(config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> Iterator[str]:
    """What in a config, in words, is larger than its weights, or is not a size at all."""
    class_name = class_name_of(config)
    if class_name not in FIELDS:
        return
    fields = {name: field for name, field in FIELDS[class_name].items() if field.kind in SIZES}
    sizes = {name: config.get(name, field.default) for name, field in fields.items()}
    largest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    limit, sound = max(largest, SMALL), True
    for name, value in {**sizes, "num_labels": config.get("num_labels")}.items():
        if value is None and (name not in fields or fields[name].default is None):
            continue
        unfit = name in fields and not KINDS[fields[name].kind](value)
        large = not unfit and _is_large(class_name, name, value, config, limit, len(tensors))
        sound = sound and not unfit and not large
        if unfit:
            yield f"{name} = {_short(value)}, which is not a size"
        elif large and name.endswith(LAYERS):
            yield f"{name} = {_short(value)}, with {counted(len(tensors), 'tensor')}"
        elif large:
            yield f"{name} = {_short(value)}, where no tensor is larger than {largest}"
    if sound:
        stated, held = _parameters(class_name, sizes, config), sum(tensor.size for tensor in tensors.values())
        if stated > 2 * held + SMALL_MODEL:
            yield f"{stated} parameters by its sizes, where the weights hold {held}"


def _is_large(
    class_name: str, name: str, value: object, config: Mapping[str, object], limit: int, tensors: int
) -> bool:
    if name.endswith(LAYERS):
        return sum(_integers(value)) > tensors
    if name == "image_size":  # only a table of positions grows with it
        return CLASSES[class_name].has_positions and _positions(value, config.get("patch_size", 16)) > limit
    return name not in FREE and max(_integers(value), default=0) > limit


def _positions(image_size: object, patch_size: object) -> int:
    sides, patches = (_integers(value) or [1] for value in (image_size, patch_size))
    return prod(side // max(patch, 1) for side, patch in zip(_both(sides), _both(patches), strict=True))


def _both(sides: list[int]) -> list[int]:
    return sides[:2] if len(sides) > 1 else sides * 2


def _parameters(class_name: str, sizes: Mapping[str, object], config: Mapping[str, object]) -> int:
    """Of the large matrices alone: never more than the class makes."""
    count = {name: max(_integers(value), default=0) for name, value in sizes.items()}
    widths, depths = _integers(sizes.get("hidden_sizes")), _integers(sizes.get("depths"))
    labels = config.get("id2label")
    classes = len(labels) if isinstance(labels, dict) else max(_integers(config.get("num_labels")), default=2)
    classifier = classes if classifies(class_name) else 0
    if class_name.startswith("ResNet"):
        stem = count["embedding_size"] * count["num_channels"] * 49
        inner = 9 * 2 if config.get("layer_type") == "basic" else 1  # a bottleneck's 3×3 has a quarter of the channels
        blocks = sum(depth * width * width * inner for depth, width in zip(depths, widths, strict=False))
        return stem + blocks // 2 + sum(one * two for one, two in pairwise(widths)) + classifier * widths[-1]
    if class_name.startswith("DINOv3ConvNext"):
        stem = widths[0] * count["num_channels"] * 16
        blocks = sum(depth * width * (8 * width + 49) for depth, width in zip(depths, widths, strict=False))
        return stem + blocks + sum(4 * one * two for one, two in pairwise(widths))
    width, patch = count["hidden_size"], prod(_both(_integers(sizes["patch_size"])))
    hidden = count.get("intermediate_size") or width * count["mlp_ratio"]
    layer = 4 * width * width + 2 * width * hidden
    table = 0 if class_name.startswith("DINOv3") else _positions(sizes["image_size"], sizes["patch_size"])
    tokens = table + count.get("num_register_tokens", 0) + patch * count["num_channels"]
    pooler = max(_integers(config.get("pooler_output_size")), default=0) if has_pooler(class_name) else 0
    code = CLASSES[class_name].code
    beside: int = code.parameters_beside(count) if hasattr(code, "parameters_beside") else 0
    return count["num_hidden_layers"] * layer + beside + width * (tokens + classifier + pooler)


def _integers(value: object) -> list[int]:
    """Whole numbers, and others rounded up: the ratio of an MLP."""
    values = value if isinstance(value, list) else [value]
    return [ceil(each) for each in values if type(each) is int or (type(each) is float and isfinite(each))]


MAX_WIDTH = 65_536
"""More than any model has; config.json is not trusted with more."""


def count_of(where: str, config: Mapping[str, object], field: str) -> int:
    return 0 if _stated(config, field) in (0, None) else size_of(where, config, field)


def size_of(where: str, config: Mapping[str, object], field: str, limit: int = MAX_WIDTH) -> int:
    """A size that a config states, or its class where it leaves the field out.

    Raises UnknownModelError where it is not a whole number up to `limit`.
    """
    value = _stated(config, field)
    if type(value) is int and 0 < value <= limit:
        return value
    raise unsized(where, field, f"a whole number from 1 to {limit}", value)


def _stated(config: Mapping[str, object], field: str) -> object:
    return config.get(field, FIELDS[class_name_of(config)][field].default)


def unsized(where: str, field: str, expected: str, found: object) -> UnknownModelError:
    return UnknownModelError(
        f"{where} cannot go back: its config.json does not say how large the model is",
        where=f"config.json: {field}",
        expected=expected,
        found=value_text(found, 80),
        next_step="save the model again with save_pretrained",
    )


def _short(value: object) -> str:
    return str(value)[:40]
