"""Whether a config describes a larger model than the weights beside it are: nothing is made up for such a one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from dinoport.errors import SettingError, UnknownModelError
from dinoport.tensor import TensorRef

SMALL = 1024
"""No size up to this costs much, however small the weights are."""

TABLES = ("vit", "dinov2", "dinov2_with_registers")
"""Model types with a table of positions, whose length follows from image_size."""


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
    """What in a config, in words, is larger than its weights."""
    largest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    limit = max(largest, SMALL)
    for field, value in config.items():
        if field in ("num_hidden_layers", "depths"):
            if sum(_integers(value)) > len(tensors):
                yield f"{field} = {str(value)[:40]}, with {len(tensors)} tensors"
        elif field != "image_size" and max(_integers(value), default=0) > limit:
            yield f"{field} = {str(value)[:40]}, where no tensor is larger than {largest}"
    hidden, ratio = config.get("hidden_size"), config.get("mlp_ratio")
    if isinstance(hidden, int) and isinstance(ratio, int | float) and not hidden * ratio <= limit:
        yield f"mlp_ratio = {ratio}, where no tensor is larger than {largest}"
    sides = _integers(config.get("image_size")) or [0]
    patch = min(_integers(config.get("patch_size")), default=16)
    positions = prod(side // max(patch, 1) for side in (sides * 2 if len(sides) == 1 else sides))
    if config.get("model_type") in TABLES and positions > limit:
        yield f"image_size = {str(config.get('image_size'))[:40]}, where no tensor is larger than {largest}"


def _integers(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if type(each) is int]


MAX_WIDTH = 65_536
"""More than any model has; config.json is not trusted with more."""

MAX_THETA = 1e300
"""Of rotary positions: a whole number of JSON may be larger than any float."""


def record_of(config: Mapping[str, object]) -> Mapping[str, object]:
    """The field that we write into config.json; empty in a folder that we did not make."""
    record = config.get("dinoport")
    return record if isinstance(record, dict) else {}


def recorded(config: Mapping[str, object], field: str) -> list[object]:
    """A list of our own field."""
    found = record_of(config).get(field)
    return found if isinstance(found, list) else []


def count_of(where: str, config: Mapping[str, object], field: str) -> int:
    return 0 if config.get(field, 0) in (0, None) else size_of(where, config, field)


def size_of(where: str, config: Mapping[str, object], field: str, limit: int = MAX_WIDTH) -> int:
    """A size that a config states. Raises UnknownModelError where it is not a whole number up to `limit`."""
    value = config.get(field)
    if type(value) is int and 0 < value <= limit:
        return value
    raise unsized(where, field, f"a whole number from 1 to {limit}", value)


def unsized(where: str, field: str, expected: str, found: object) -> UnknownModelError:
    return UnknownModelError(
        f"{where} cannot go back: its config.json does not say how large the model is",
        where=f"config.json: {field}",
        expected=expected,
        found=repr(found)[:80],
        next_step="save the model again with save_pretrained",
    )
