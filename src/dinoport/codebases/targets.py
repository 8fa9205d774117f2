"""The codebases that a model can be written for. Adding one is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dinoport.mapping.plan import Plan, Step
from dinoport.model import Model
from dinoport.request import Request

if TYPE_CHECKING:
    from dinoport.codebases.running import Runner
    from dinoport.codebases.target import Target
    from dinoport.files.output_file import WrittenFile

MODULES = {
    "transformers": "dinoport.codebases.transformers.writing",
    "original": "dinoport.codebases.original",
    "training": "dinoport.codebases.training",
}


class Writing(Protocol):
    """What the module of a target offers."""

    HAS_CARD: bool

    def target_of(self, model: Model, request: Request, labels: Mapping[int, str] | None) -> Target: ...

    def documents(self, target: Target, plan: Plan, lost: Sequence[str]) -> dict[str, dict[str, object]]: ...

    def write(
        self,
        folder: Path,
        target: Target,
        steps: Sequence[Step],
        contents: Mapping[str, Mapping[str, object]],
        max_shard_bytes: int,
        on_bytes: Callable[[int], None],
        on_shard: Callable[[Path], None],
    ) -> list[WrittenFile]:
        """Write weights and documents; `on_shard` is called with each of several weight files that is whole."""
        ...

    def runner(self, folder: Path, form: str, *, pooler: bool | None) -> Runner | None: ...

    def classes(self, target: Target) -> tuple[str, ...]:
        """What Transformers is asked for to run the folder."""
        ...

    def usage(self, target: Target, folder: str) -> tuple[str, ...]: ...


def writing_of(name: str) -> Writing:
    """The module of a target, imported when it is asked for."""
    return cast(Writing, import_module(MODULES[name]))
