"""The `config.yaml` of a training run of DINOv2 or DINOv3: what the run was told and no tensor shows.

Both codebases write it into the run's output folder, above `eval/<iteration>/teacher_checkpoint.pth` and
`ckpt/<iteration>/`. It is read as plain data, within limits; one that cannot be read never stops a conversion.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import LocalFile
from dinoport.files.folders import refuse_leaving
from dinoport.files.names import is_name, short_text

NAME = "config.yaml"

START = "start.yaml"
"""What `convert --to training` writes beside a start: those options of such a config that have to agree with it."""

RUN_FOLDERS = frozenset({"eval", "ckpt"})
"""Folders that upstream puts between a run's output folder and its checkpoints."""

MAX_BYTES = 64 * 1024
"""A genuine one takes 5 kB. PyYAML reads a hundred kilobytes a second where it is made to."""

TOO_LARGE = f"it has more than {MAX_BYTES} bytes"

MAX_EVENTS = 10_000
MAX_DEPTH = 24

AnyPath = TypeVar("AnyPath", bound=PurePath)

MAX_SCALAR_CHARACTERS = 1000
"""Of one value. A number such as 1:30:59:… takes a time that grows with the square of its length."""


@dataclass(frozen=True)
class RunConfig:
    """The settings in the file `where`, by dotted name. `problem` says why there are none where it cannot be read."""

    where: str
    values: Mapping[str, object]
    problem: str | None = None
    name: str = NAME

    def text(self, name: str) -> str | None:
        """A text, such as `student.arch`; None where it is absent or empty, cannot be shown, or refers elsewhere."""
        value = self._value(name)
        return value if isinstance(value, str) and value and is_name(value) and "${" not in value else None

    def number(self, name: str) -> int | float | None:
        """A number, such as `student.patch_size`; YAML 1.1 takes `1e-6` for text, so texts of numbers count too."""
        value = self._value(name)
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return None
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def flag(self, name: str) -> bool | None:
        """A yes or no, such as `distillation.enabled`."""
        value = self._value(name)
        return value if isinstance(value, bool) else None

    def says(self, name: str) -> bool:
        """Whether there is such a setting, and be it empty."""
        outer, _, last = name.rpartition(".")
        node = self._value(outer) if outer else self.values
        return isinstance(node, Mapping) and last in node

    def value(self, name: str, otherwise: object) -> object:
        """A setting of any type, texts of numbers as numbers; `otherwise` where there is none."""
        if not self.says(name):
            return otherwise
        number = self.number(name)
        return self._value(name) if number is None or isinstance(self._value(name), bool) else number

    def _value(self, name: str) -> object:
        node: object = self.values
        for part in name.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node


def find_run_config(source: Path) -> RunConfig | None:
    """The config of the run that wrote a checkpoint; None where there is none, or one of another code's.

    It is looked for beside the checkpoint, and in the output folder above where upstream's layout is recognised. Beside
    a start for training that is its own.
    """
    for folder in run_places(source.absolute(), is_folder=source.is_dir()):
        path = folder / NAME
        if path.is_file() and (found := _read_beside(path)) and (found.problem or _is_training_config(found.values)):
            return found
    start = (source if source.is_dir() else source.parent) / START
    return replace(_read_beside(start), name=START) if start.is_file() else None


def read_run_config(path: str | Path) -> RunConfig:
    """The config that a user gives for a training. Raises CheckpointError for one that cannot be read."""
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(
            f"{file} is not a file",
            expected="the config of a training run, in YAML",
            next_step="give the config that the trainer gets",
        )
    found = _read(file)
    if found.problem is not None:
        raise CheckpointError(
            f"{file} cannot be read as the config of a training",
            found=found.problem,
            expected="settings in YAML, such as `student: {arch: vit_large}`",
            next_step="give the config that the trainer gets",
        )
    return replace(found, name=file.name)


def run_places(source: AnyPath, *, is_folder: bool) -> list[AnyPath]:
    """Where the config of the run that wrote a checkpoint may lie, the most likely first."""
    beside = [source, source.parent] if is_folder else [source.parent]
    above = [folder.parent for folder in list(source.parents)[:3] if folder.name in RUN_FOLDERS]
    return list(dict.fromkeys([*beside, *above]))


def _is_training_config(values: Mapping[str, object]) -> bool:
    student = values.get("student")
    return isinstance(student, Mapping) and "arch" in student


def _read_beside(path: Path) -> RunConfig:
    """A file that nobody named: a link leads nowhere else."""
    try:
        refuse_leaving(path, path.parent)
    except CheckpointError as error:
        return RunConfig(str(path), {}, error.what)
    return _read(path)


def _read(path: Path) -> RunConfig:
    try:
        with closing(LocalFile(path)) as file:
            if file.size_bytes > MAX_BYTES:
                return RunConfig(str(path), {}, TOO_LARGE)
            return RunConfig(str(path), *_parse(file.read(0, file.size_bytes)))
    except CheckpointError as error:
        return RunConfig(str(path), {}, error.what)


def parse_run_config(where: str, data: bytes) -> RunConfig | None:
    """What a file of that name holds, of at most MAX_BYTES; None where it is a config of another code."""
    values, problem = _parse(data)
    return RunConfig(where, values, problem) if problem is not None or _is_training_config(values) else None


def _parse(data: bytes) -> tuple[Mapping[str, object], str | None]:
    """The settings, or why they cannot be read."""
    import yaml

    class Once(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        """Refuses two values of a name, as OmegaConf does, by which the run read the file."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            for name, count in Counter(key.value for key, _ in node.value if isinstance(key.value, str)).items():
                if count > 1:
                    raise ValueError(f"it says {short_text(name)} twice")
            return super().construct_mapping(node, deep)

    try:
        text = data.decode("utf-8")
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                return {}, "it refers to its own parts (YAML aliases), which can unfold without end"
            long = isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR_CHARACTERS
            if count > MAX_EVENTS or depth > MAX_DEPTH or long:
                return {}, "it is larger or deeper than any training config"
        values = Once(text).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return {}, " ".join(str(error).split())[:160] or type(error).__name__
    return (values, None) if isinstance(values, dict) else ({}, "it holds no settings")
