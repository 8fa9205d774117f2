"""The model that an adapter of PEFT's is for: the one that the user gives, else the one beside the adapter."""

from __future__ import annotations

import re
from pathlib import Path

from dinoport.errors import SettingError
from dinoport.finding.sources import locate
from dinoport.formats.adapter_folder import base_beside
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.progress import Progress
from dinoport.request import Request
from dinoport.shown.address import shown_source


def open_base(adapter: Checkpoint, request: Request, on_progress: Progress) -> Checkpoint:
    """The model that an adapter is for. Raises SettingError where it is not given, and not beside the adapter."""
    if request.base is not None:
        return locate(request.base, on_progress).open(on_progress)
    path = base_beside(Path(adapter.where), adapter.adapter)
    if path is not None:
        return open_checkpoint(path)
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
