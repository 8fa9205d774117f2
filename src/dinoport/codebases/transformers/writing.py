"""Transformers as a target: the files of a folder beside its card, and the lines that load it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dinoport.codebases.record import with_losses
from dinoport.codebases.target import Order, Target
from dinoport.codebases.transformers.card import auto_class
from dinoport.codebases.transformers.card import cautions as cautions
from dinoport.codebases.transformers.card import example as example
from dinoport.codebases.transformers.forms import class_name_of, is_known_class
from dinoport.codebases.transformers.forms import target_of as target_of
from dinoport.codebases.transformers.processor import processor_config
from dinoport.formats.transformers_folder import CONFIG
from dinoport.mapping.plan import Plan
from dinoport.tensor import FLOAT_DTYPES, TensorRef, dtype_name

if TYPE_CHECKING:
    from dinoport.codebases.fields import Finding
    from dinoport.codebases.transformers.running import ClassRunner
    from dinoport.files.output_file import WrittenFile

HAS_CARD = True

LIBRARY, OWNER = "transformers", "Hugging Face Transformers"


def documents(target: Target, plan: Plan, lost: Sequence[str], licence: str | None) -> dict[str, dict[str, object]]:
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


def write(target: Target, order: Order) -> list[WrittenFile]:
    """Write weights and documents. Raises FolderError where the disk refuses."""
    from dinoport.files.json_file import write_json
    from dinoport.formats.safetensors.writer import write_sharded

    weights = write_sharded(order.folder, order.steps, order.max_shard_bytes, order.on_bytes, order.on_shard)
    return [*weights, *(write_json(order.folder / name, content) for name, content in order.documents.items())]


def findings(
    target: Target, name: str, expected: Mapping[str, object], found: Mapping[str, object]
) -> tuple[Finding, ...]:
    from dinoport.codebases.transformers.config_fields import compare_config
    from dinoport.codebases.transformers.processor_fields import compare_processor

    return compare_config(target.form, expected, found) if name == CONFIG else compare_processor(expected, found)


def is_safe(
    expected: Mapping[str, Mapping[str, object]], config: Mapping[str, object], tensors: Mapping[str, TensorRef]
) -> bool:
    """Whether Transformers may be given what is known of a folder: to show what other values do."""
    from dinoport.codebases.transformers.config_fields import strange_fields
    from dinoport.codebases.transformers.stated_sizes import too_large

    if not is_known_class(config) or [*strange_fields(class_name_of(config), config)]:
        return False
    return not [*too_large(config, tensors)]


def runner(folder: Path, form: str, *, pooler: bool | None, without: Collection[str] = ()) -> ClassRunner:
    from dinoport.codebases.transformers.running import ClassRunner

    return ClassRunner(folder, form, pooler=pooler is not False, without=without)


def processor(folder: Path) -> object:
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def classes(target: Target) -> tuple[str, ...]:
    if target.channels != 3 or target.preprocessing is None:
        return (target.form,)
    return target.form, "AutoImageProcessor"


def tag(target: Target) -> str:
    return target.model_type


def usage(target: Target, folder: str) -> tuple[str, ...]:
    """Three lines of Python that load the folder; two where no image processor fits the model."""
    auto, name = auto_class(target), json.dumps(folder, ensure_ascii=False)
    model = f"model = {auto}.from_pretrained({name}{', add_pooling_layer=False' if target.pooler is False else ''})"
    if target.channels != 3:
        return f"from transformers import {auto}", model
    processor = f"processor = AutoImageProcessor.from_pretrained({name})"
    if target.preprocessing and target.preprocessing.official:
        processor += "  # needs torchvision: pip install torchvision"
    return f"from transformers import AutoImageProcessor, {auto}", processor, model
