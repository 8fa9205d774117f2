"""What a converted folder sees in a picture: the attention of its last block, and its patch tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoport.codebases.running import LoadingProof
from dinoport.codebases.timm import running as of_timm
from dinoport.codebases.timm.running import TimmRunner
from dinoport.codebases.timm.signs import is_timm_config
from dinoport.codebases.transformers import running as of_transformers
from dinoport.codebases.transformers.class_fields import CLASS_OF_TYPE
from dinoport.codebases.transformers.forms import OF_MODEL_TYPE
from dinoport.codebases.transformers.running import ClassRunner
from dinoport.errors import SettingError
from dinoport.files.folders import LocalFolder
from dinoport.finding.models import read_model
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.transformers_folder import PROCESSOR, is_transformers_folder, read_json
from dinoport.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from dinoport.progress import IMPORTING, LOADING, READING, RUNNING, Progress, silent
from dinoport.proofs.known_folder import known_folder, refuse_beside
from dinoport.request import MAX_IMAGE_SIZE, Request
from dinoport.shown.calls import FOLDER, SOURCE, Blank, call
from dinoport.shown.text import value_text
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PATCHES = 16_384
"""The attention of one head takes a gigabyte in float32 there, and grows with the square of their number."""


@dataclass(frozen=True)
class Seen:
    """`picture` is what the model saw, (height, width, 3) of 8 bits; `cell` the pixels along a side of one patch.

    `attention` is (heads, rows, columns), None for a model without; `patches` are (rows, columns, width).
    `resampled` says that positions were resampled for this size, by the rule of the `library`.
    """

    picture: Array
    cell: int
    patches: Array
    attention: Array | None
    resampled: bool
    model_type: str
    library: str = "Transformers"


def see(folder: Path, picture: Image, size: int, dtype: str = "float32", on_progress: Progress = silent) -> Seen:
    """Run the folder's model on a picture whose shorter side becomes `size` pixels, cut to whole patches.

    `dtype` is what the model computes in. Raises SettingError where the folder holds no model of this family, or one
    that pictures do not fit.
    """
    on_progress(READING, 0, 0)
    with ExitStack() as files:
        config = read_json(folder / "config.json") if is_transformers_folder(LocalFolder(folder)) else {}
        given = _of_timm(folder, config) if is_timm_config(config) else _of_transformers(folder, config, files)
        levels, values = _prepared(picture, size, given.cell, *given.statistics)
        on_progress(IMPORTING, 0, 0)
        import torch  # once nothing of the folder is refused any more

        on_progress(LOADING, 0, 0)
        model = _load(given, folder, dtype)
    on_progress(RUNNING, 0, 0)
    images = torch.from_numpy(values).to(getattr(torch, dtype))
    with torch.inference_mode(), given.code.kept_attention(model) as rows, _refused(folder, "run on a picture"):
        outputs = given.code.outputs_of(model, images)
    resampled = given.positions_for is not None and levels.shape[:2] != (given.positions_for,) * 2
    seen = Seen(levels, given.cell, levels, None, resampled, given.kind, given.library)
    return _seen(folder, outputs, rows[-1] if rows else None, seen)


class _Given(NamedTuple):
    """A folder's model before it is loaded: its `runner`, how it is loaded in a dtype, and the code that runs it.

    `statistics` are means and deviations of pixels; its position table is for a side of `positions_for` pixels, which
    is None where it has no table.
    """

    runner: ClassRunner | TimmRunner
    load: Callable[[str], LoadingProof]
    code: ModuleType
    cell: int
    statistics: tuple[Array, Array]
    positions_for: object
    kind: str
    library: str


def _of_transformers(folder: Path, config: Mapping[str, Any], files: ExitStack) -> _Given:
    """A folder of Transformers, which is given what is known of it."""
    refuse_unfit(folder, config)
    kind = str(config["model_type"])
    form = OF_MODEL_TYPE[kind]
    cell, pixels = form.cell or _patch_size(config), statistics(folder)
    checkpoint = files.enter_context(open_checkpoint(folder))
    known = files.enter_context(known_folder(folder, config, checkpoint.tensors))
    runner, native = ClassRunner(known, CLASS_OF_TYPE[kind]), config.get("image_size", "")
    positions_for = native if form.has_table else None
    return _Given(runner, runner.load, of_transformers, cell, pixels, positions_for, kind, "Transformers")


def _of_timm(folder: Path, config: Mapping[str, Any]) -> _Given:
    """A folder of timm, which is asked for what is known here alone. Raises DinoportError as a conversion does."""
    with open_checkpoint(folder) as checkpoint:
        model, _ = read_model(checkpoint, Request())
    architecture, transform = model.architecture, model.preprocessing
    _refuse_channels(folder, architecture.channels)
    builder = str(config["architecture"])
    runner = TimmRunner(folder, builder)
    load = partial(runner.load, any_size=hasattr(architecture, "depth"))
    positions_for = architecture.image_size if architecture.positions else None
    statistics = (np.array(transform.mean), np.array(transform.std))
    return _Given(runner, load, of_timm, architecture.cell, statistics, positions_for, builder, "timm")


def _prepared(picture: Image, size: int, cell: int, mean: Array, std: Array) -> tuple[Array, Array]:
    """The picture as the model sees it, and as an input of (1, channels, height, width).

    Raises SettingError where it does not fit.
    """
    if not cell <= size <= MAX_IMAGE_SIZE:
        raise SettingError(f"`size={size}` does not fit this model", expected=f"{cell} to {MAX_IMAGE_SIZE} pixels")
    check_count(picture.size, size, cell)
    levels = fitted(picture, size, cell)
    values = (levels / 255 - mean) / std
    return levels, np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _seen(folder: Path, outputs: Mapping[str, Any], row: Any, seen: Seen) -> Seen:
    """What a model has seen, with its outputs: `row` is the CLS token's attention in the last block, if it has any."""
    levels, cell = seen.picture, seen.cell
    grid = (levels.shape[0] // cell, levels.shape[1] // cell)
    if "feature_map" in outputs:
        patches = outputs["feature_map"][0].permute(1, 2, 0)
    else:
        # CLS token and registers stand first, patches last, in every class.
        patches = outputs["tokens"][0, -grid[0] * grid[1] :].reshape(*grid, -1)
    attention = None if row is None else row[0, :, -grid[0] * grid[1] :].reshape(-1, *grid).numpy()
    if not patches.isfinite().all() or (attention is not None and not np.isfinite(attention).all()):
        raise SettingError(
            f"the model in {folder} computes values that are not finite from this picture",
            cause="its weights hold NaN or infinite values, or values that are too large for float32",
            next_step=f"{call('verify', SOURCE, FOLDER)}, which counts them",
        )
    return replace(seen, patches=patches.numpy(), attention=attention)


def check_count(sides: tuple[int, int], size: int, cell: int) -> None:
    """Raise SettingError where a picture of these sides would become more patches than fit: a long and narrow one."""
    count = round(size * size * max(sides) / min(sides)) // cell**2
    if count <= MAX_PATCHES:
        return
    fits = int(cell * (MAX_PATCHES * min(sides) / max(sides)) ** 0.5)
    raise SettingError(
        f"`size={size}` makes {count} patches of a picture of {sides[0]}×{sides[1]} pixels",
        expected=f"at most {MAX_PATCHES}, as attention takes memory and time with the square of their number",
        next_step=f"`size={fits}`, or a part of the picture",
    )


def fitted(picture: Image, size: int, cell: int) -> Array:
    """The picture with its shorter side at `size` pixels, cut at the right and at the bottom to whole cells."""
    from PIL import Image

    width, height = picture.size
    factor = size / min(width, height)
    scaled = picture.convert("RGB").resize(
        (max(round(width * factor), cell), max(round(height * factor), cell)), Image.Resampling.BICUBIC
    )
    levels = np.asarray(scaled)
    rows, columns = levels.shape[0] // cell, levels.shape[1] // cell
    return levels[: rows * cell, : columns * cell]


def refuse_unfit(folder: Path, config: Mapping[str, Any]) -> None:
    if not config:
        raise SettingError(
            f"{folder} is not a folder of Transformers",
            expected="config.json and weights, as dinoport convert writes them",
            next_step=(call("convert", folder, FOLDER), call("visualize", FOLDER, Blank("IMAGE"))),
        )
    kind = str(config.get("model_type"))
    if kind not in OF_MODEL_TYPE:
        raise SettingError(
            f"{folder} holds no model of the DINO family",
            expected="one of " + ", ".join(OF_MODEL_TYPE),
            found=f"model_type {value_text(config.get('model_type'))}",
        )
    if OF_MODEL_TYPE[kind].hides_patches:
        raise SettingError(
            f"{folder} hides patches of each picture from itself, at random",
            expected="a class that sees the whole picture",
            found=CLASS_OF_TYPE[kind],
            next_step="convert the source again without `class`, and visualize that folder",
        )
    _refuse_channels(folder, config.get("num_channels", 3))
    refuse_beside(folder)


def _refuse_channels(folder: Path, channels: object) -> None:
    if channels != 3:
        raise SettingError(
            f"{folder} takes {channels} channels, and pictures have three",
            next_step="run the model on arrays of your own",
        )


def _patch_size(config: Mapping[str, Any]) -> int:
    size = config.get("patch_size", 16)
    if not isinstance(size, int) or size < 1:
        raise SettingError("config.json has no patch size", expected="a whole number", found=value_text(size))
    return size


def statistics(folder: Path) -> tuple[Array, Array]:
    """Means and standard deviations of the folder's processor; ImageNet's where it has none."""
    path = folder / PROCESSOR
    found = read_json(path) if path.is_file() else {}
    values: list[Array] = []
    for name, default in _DEFAULTS.items():
        value = found.get(name) or default
        if not _fits_colours(value, positive=name == "image_std"):
            raise SettingError(
                f"{name} of the folder's processor cannot be used",
                where=str(path),
                expected=f"three {'positive ' if name == 'image_std' else ''}numbers, one for each colour",
                found=value_text(value),
                next_step="convert the checkpoint again, with `image_mean` and `image_std` if its own are others",
            )
        values.append(np.array(value, dtype=np.float64))
    return values[0], values[1]


def _fits_colours(value: Any, *, positive: bool) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3 or any(type(each) not in (int, float) for each in value):
        return False
    return not positive or min(value) > 0


_DEFAULTS = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}


def _load(given: _Given, folder: Path, dtype: str) -> Any:
    """The model without its classifier. Raises SettingError where it is not what the folder's files hold."""
    found = LoadingProof("", "", absent=given.runner.absent) if given.runner.absent else given.load(dtype)
    if found.absent:
        raise SettingError(f"{folder} cannot be drawn here", found=found.absent)
    kinds = (("does not fit", found.mismatched), ("is missing", found.missing), ("has no place", found.unexpected))
    wrong = [f"{name} {words}" for words, names in kinds for name in names if not name.startswith(_NOT_DRAWN)]
    if wrong or found.failure:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise SettingError(
            f"the model in {folder} is not what its files hold",
            found=(found.failure or wrong[0] + more).partition("\n")[0],
            cause="config.json was changed, or belongs to another model",
            next_step=_NEXT_STEP,
        )
    return given.runner.model


_NOT_DRAWN = ("pooler.", "classifier.", "embeddings.mask_token")
"""What may be missing, where Transformers makes one up, or have no place: nothing that is drawn comes out of it."""

_NEXT_STEP = f"convert the checkpoint again, or see what is wrong: {call('verify', SOURCE, FOLDER)}"


@contextmanager
def _refused(folder: Path, what: str) -> Iterator[None]:
    """Whatever Transformers or torch raises on a folder that is not sound, as a message about the folder."""
    try:
        yield
    except Exception as error:
        raise SettingError(
            f"the model in {folder} cannot be {what}",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            cause="config.json and weights do not belong together",
            next_step=_NEXT_STEP,
        ) from error
