"""A folder that no proof has judged: what Transformers is given of it.

Transformers never sees the folder itself. It is given one of ours, with the fields of its configs that are known for
this class, and links to its weights. A file of pickles is not given either: its tensors are written out as we read
them, so no pickle of a stranger's reaches `torch.load`, and both sides of a proof read the same values.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dinoport.codebases.transformers.config_fields import known_config, strange_fields
from dinoport.codebases.transformers.forms import class_name_of, is_known_class
from dinoport.codebases.transformers.processor_fields import known_processor, strange_processor_fields
from dinoport.codebases.transformers.stated_sizes import too_large
from dinoport.errors import CheckpointError, SettingError, printable
from dinoport.files.folders import link_or_copy
from dinoport.files.json_file import write_json
from dinoport.formats.safetensors.writer import write_safetensors
from dinoport.formats.transformers_folder import CONFIG, INDEXES, PROCESSOR, READ_BESIDE, WEIGHTS, read_json
from dinoport.mapping.plan import computed
from dinoport.shown.calls import FOLDER, SOURCE, runnable
from dinoport.shown.text import value_text
from dinoport.tensor import TensorRef

SHOWN = 5
MAX_SHOWN = 80


def refuse_foreign(where: object, config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> None:
    """Raise SettingError for a config that opens something, or whose sizes are not those of the folder's `tensors`."""
    if not is_known_class(config):
        found = [f"a class of another family: {value_text(config.get('architectures'), MAX_SHOWN)}"]
        raise _refusal(where, CONFIG, found)
    strange = [_shown(name, value) for name, value in strange_fields(class_name_of(config), config)]
    if problems := [*too_large(config, tensors), *strange]:
        raise _refusal(where, CONFIG, problems)


def refuse_beside(folder: Path) -> None:
    """Raise SettingError for what else Transformers reads in a folder: adapters, and processors that open something."""
    refuse_read_beside(folder, [name for name in READ_BESIDE if os.path.lexists(folder / name)])
    if strange := [_shown(name, value) for name, value in strange_processor_fields(_processor(folder) or PLAIN)]:
        raise _refusal(folder, PROCESSOR, strange)


def refuse_read_beside(where: object, names: Sequence[str]) -> None:
    """Raise SettingError where there are files of these names, which Transformers reads of its own accord."""
    if names:
        raise _refusal(where, CONFIG, [f"{name} beside it" for name in names])


PLAIN = {"image_processor_type": "BitImageProcessor"}
"""Stands for a processor that a folder does not have."""


@contextmanager
def known_folder(folder: Path, config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> Iterator[Path]:
    """A folder of ours with what is known of a stranger's `folder`, for Transformers to load; removed afterwards.

    Raises SettingError as `refuse_foreign` and `refuse_beside` do.
    """
    refuse_foreign(folder, config, tensors)
    refuse_beside(folder)
    import tempfile  # which an exact verification does without

    with tempfile.TemporaryDirectory(prefix="dinoport-known-", ignore_cleanup_errors=True) as name:
        known = Path(name)
        write_json(known / CONFIG, known_config(class_name_of(config), config))
        if processor := known_processor(_processor(folder) or {}):
            write_json(known / PROCESSOR, processor)
        _give_weights(folder, known, tensors)
        yield known


def _processor(folder: Path) -> dict[str, object] | None:
    """The folder's processor as it is read; None where it has none, or none that can be read."""
    with suppress(CheckpointError):
        return read_json(folder / PROCESSOR)
    return None


def _give_weights(folder: Path, known: Path, tensors: Mapping[str, TensorRef]) -> None:
    if (folder / WEIGHTS[0]).exists():
        link_or_copy(folder / WEIGHTS[0], known / WEIGHTS[0])
    elif (folder / INDEXES[0]).exists():
        weight_map = read_json(folder / INDEXES[0])["weight_map"]
        for shard in sorted(set(weight_map.values())):  # type: ignore[attr-defined]  # the open folder was checked
            link_or_copy(folder / shard, known / shard)
        write_json(known / INDEXES[0], {"metadata": {}, "weight_map": weight_map})
    else:
        write_safetensors(known / WEIGHTS[0], [computed(each) for each in tensors.values()])


def _shown(name: str, value: object) -> str:
    return printable(f"{name} = {value_text(value, MAX_SHOWN)}")


def _refusal(folder: object, where: str, problems: list[str]) -> SettingError:
    return SettingError(
        f"{folder} is not given to Transformers",
        where=where,
        expected="a class of the DINO family, as large as its weights, that needs nothing from elsewhere",
        found="; ".join(problems[:SHOWN]),
        cause="a folder that another program made, or a stranger's",
        next_step=f"convert the original again: {runnable('convert', SOURCE, FOLDER)}",
    )
