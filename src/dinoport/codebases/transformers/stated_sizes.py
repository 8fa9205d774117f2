"""Whether a config describes a larger model than the weights beside it are: nothing is made up for such a one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from dinoport.errors import SettingError
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
