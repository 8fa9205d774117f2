"""Transformers as a target: the files of a folder beside its card, and the lines that load it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dinoport.codebases.target import Target
from dinoport.codebases.transformers.forms import target_of as target_of
from dinoport.codebases.transformers.processor import processor_config
from dinoport.codebases.transformers.shared import with_losses
from dinoport.mapping.plan import Plan, Step
from dinoport.tensor import FLOAT_DTYPES, dtype_name

if TYPE_CHECKING:
    from dinoport.codebases.transformers.running import ClassRunner
    from dinoport.files.output_file import WrittenFile

HAS_CARD = True


def documents(target: Target, plan: Plan, lost: Sequence[str]) -> dict[str, dict[str, object]]:
    """The content of config.json, and of preprocessor_config.json where the model takes pictures of three channels.

    `lost` are the parts of the original that the folder has lost for good. No processor of Transformers is known to do
    what a training on other channels did: of four, for one, PIL takes the last for transparency, and multiplies the
    others by it when it resizes.
    """
    floats = {step.target.dtype for step in plan.steps if step.target.dtype in FLOAT_DTYPES.values()}
    widest = max(floats, key=lambda dtype: dtype.itemsize)
    config = {"config.json": {**with_losses(target.config, lost), "dtype": dtype_name(widest)}}
    if target.channels != 3 or target.preprocessing is None:
        return config
    return {**config, "preprocessor_config.json": processor_config(target.preprocessing)}


def write(
    folder: Path,
    target: Target,
    steps: Sequence[Step],
    contents: Mapping[str, Mapping[str, object]],
    max_shard_bytes: int,
    on_bytes: Callable[[int], None],
    on_shard: Callable[[Path], None],
) -> list[WrittenFile]:
    """Write weights and documents. Raises FolderError where the disk refuses."""
    from dinoport.files.json_file import write_json
    from dinoport.formats.safetensors.writer import write_sharded

    weights = write_sharded(folder, steps, max_shard_bytes, on_bytes, on_shard)
    return [*weights, *(write_json(folder / name, content) for name, content in contents.items())]


def runner(folder: Path, form: str, *, pooler: bool | None) -> ClassRunner:
    """The class that runs a folder."""
    from dinoport.codebases.transformers.running import ClassRunner

    return ClassRunner(folder, form, pooler=pooler is not False)


def classes(target: Target) -> tuple[str, ...]:
    """The class that runs a folder, and those of its image processor."""
    if target.channels != 3 or target.preprocessing is None:
        return (target.form,)
    return target.form, "AutoImageProcessor"


def usage(target: Target, folder: str) -> tuple[str, ...]:
    """Three lines of Python that load the folder; two where no image processor fits the model."""
    auto, name = auto_class(target), json.dumps(folder, ensure_ascii=False)
    model = f"model = {auto}.from_pretrained({name}{', add_pooling_layer=False' if target.pooler is False else ''})"
    if target.channels != 3:
        return f"from transformers import {auto}", model
    processor = f"processor = AutoImageProcessor.from_pretrained({name})"
    return f"from transformers import AutoImageProcessor, {auto}", processor, model


def auto_class(target: Target) -> str:
    return "AutoModelForImageClassification" if target.classifies else "AutoModel"


def result(target: Target) -> str:
    """A line of Python that takes what people want from a model's outputs."""
    if target.classifies:
        return "print(model.config.id2label[outputs.logits.argmax(-1).item()])"
    if target.model_type == "resnet":
        return "features = outputs.pooler_output.flatten(1)  # one vector a picture"
    return "features = outputs.last_hidden_state[:, 0]  # the CLS token"
