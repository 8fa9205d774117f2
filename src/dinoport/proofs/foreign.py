"""A folder that no proof has judged: what its config may ask of Transformers before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dinoport.codebases.transformers.forms import is_known_class
from dinoport.codebases.transformers.stated_sizes import too_large
from dinoport.errors import SettingError
from dinoport.tensor import TensorRef

ATTENTION = ("sdpa", "eager", None)

OPENING = ("auto_map", "quantization_config", "backbone", "backbone_config", "use_timm_backbone")
"""Fields by which Transformers imports other code, or fetches it."""


def refuse_foreign(folder: Path, config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> None:
    """Raise SettingError for a config that opens something, or whose sizes are not those of the folder's `tensors`."""
    problems = [*_opening(folder, config), *too_large(config, tensors)]
    if problems:
        raise SettingError(
            f"{folder} is not given to Transformers",
            where="config.json",
            expected="a class of the DINO family, as large as its weights, that needs nothing from elsewhere",
            found="; ".join(problems[:5]),
            cause="a folder that another program made, or a stranger's",
            next_step="convert the original again: dinoport convert SOURCE FOLDER",
        )


def _opening(folder: Path, config: Mapping[str, object]) -> Iterator[str]:
    if not is_known_class(config):
        yield f"a class that is none of the family's: {str(config.get('architectures'))[:80]}"
    for field, value in config.items():
        implementation = "attn_implementation" in field and type(value) is not bool and value not in ATTENTION
        kernel = "kernel" in field and not isinstance(value, int | float)
        if implementation or kernel or (field in OPENING and value not in (None, False)):
            yield f"{field} = {value!r}"[:80]
    if (folder / "adapter_config.json").exists():
        yield "adapter_config.json beside it"
