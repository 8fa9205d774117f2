"""The loading proof: Transformers loads the folder into the declared class, and misses and finds nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITH_ATTENTION = ("ViT", "Dinov2", "DINOv3ViT")
"""How the names of classes with attention begin."""


@dataclass(frozen=True)
class LoadingProof:
    """What `from_pretrained` reported. `class_name` is the class that was loaded into."""

    class_name: str
    transformers_version: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def passed(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched or self.failure)


def load(folder: Path, class_name: str, *, pooler: bool = True, dtype: str = "float64") -> tuple[LoadingProof, Any]:
    """Load a folder from disk alone, in a dtype that holds its weights, with scaled dot product attention where the
    class has a choice.

    Returns the proof and the model in evaluation mode, or None where loading failed. `pooler=False` loads a ViTModel
    without the pooler that its folder leaves out.
    """
    import torch
    import transformers

    cls = getattr(transformers, class_name)
    arguments: dict[str, object] = {"local_files_only": True, "output_loading_info": True, "use_safetensors": True}
    arguments["dtype"] = getattr(torch, dtype)
    arguments |= attention_for(class_name)
    if class_name == "ViTModel" and not pooler:
        arguments["add_pooling_layer"] = False
    with quiet():
        try:
            model, info = cls.from_pretrained(folder, **arguments)
        except Exception as error:  # whatever a class raises on a bad folder is the proof's finding
            failure = f"{type(error).__name__}: {error}".strip()
            return LoadingProof(class_name, transformers.__version__, failure=failure), None
    proof = LoadingProof(
        class_name,
        transformers.__version__,
        missing=tuple(sorted(map(str, info["missing_keys"]))),
        unexpected=tuple(sorted(map(str, info["unexpected_keys"]))),
        mismatched=tuple(sorted(map(str, info["mismatched_keys"]))),
        failure="; ".join(map(str, info.get("error_msgs") or ())) or None,
    )
    return proof, model.eval()


def attention_for(class_name: str) -> dict[str, object]:
    """PyTorch's own attention, whatever config.json asks for, in classes that have attention."""
    return {"attn_implementation": "sdpa"} if class_name.startswith(WITH_ATTENTION) else {}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Transformers' own reports and progress bars off the terminal: what they say is in the proof."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
