"""A folder of timm as a model of pictures: timm runs it, and is asked for what is known here alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dinoport.codebases.timm.running import TimmRunner, kept_attention, outputs_of
from dinoport.errors import SettingError
from dinoport.finding.models import read_model
from dinoport.formats.opening import open_checkpoint
from dinoport.model import Model
from dinoport.request import Request
from dinoport.shown.calls import FOLDER, SOURCE, call
from dinoport.tensor import Array


def model_of(folder: Path) -> Model:
    """The model in a folder. Raises DinoportError as a conversion does, and for one that takes no pictures."""
    with open_checkpoint(folder) as checkpoint:
        model, _ = read_model(checkpoint, Request())
    if model.architecture.channels != 3:
        raise SettingError(
            f"{folder} takes {model.architecture.channels} channels, and pictures have three",
            next_step="run the model on arrays of your own",
        )
    return model


def loaded(folder: Path, builder: str, model: Model, dtype: str) -> Callable[[Array], tuple[Any, Any]]:
    """The folder's model: it gives outputs, and the CLS token's attention in the last block, for pixel values.

    Raises SettingError where timm does not load it.
    """
    import torch

    runner = TimmRunner(folder, builder)
    if runner.absent:
        raise SettingError(f"{folder} cannot be drawn here", found=runner.absent)
    found = runner.load(dtype, any_size=hasattr(model.architecture, "depth"))
    if not found.passed:
        raise SettingError(
            f"the model in {folder} is not what its files hold",
            found=found.failure or ", ".join((*found.missing, *found.unexpected)[:5]),
            cause="config.json was changed, or belongs to another model",
            next_step=f"convert the checkpoint again, or see what is wrong: {call('verify', SOURCE, FOLDER)}",
        )

    def run(values: Array) -> tuple[Any, Any]:
        images = torch.from_numpy(values).to(getattr(torch, dtype))
        with torch.inference_mode(), kept_attention(runner.model) as rows:
            outputs = outputs_of(runner.model, images)
        return outputs, rows[-1] if rows else None

    return run
