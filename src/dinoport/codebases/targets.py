"""The codebases that a model can be written for. Adding one is a line here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dinoport.mapping.plan import Plan
from dinoport.model import Model
from dinoport.request import Request

if TYPE_CHECKING:
    from dinoport.codebases.fields import Finding
    from dinoport.codebases.running import Runner
    from dinoport.codebases.target import Order, Target
    from dinoport.files.output_file import WrittenFile
    from dinoport.tensor import TensorRef

MODULES = {
    "transformers": "dinoport.codebases.transformers.writing",
    "original": "dinoport.codebases.original",
    "timm": "dinoport.codebases.timm.writing",
    "training": "dinoport.codebases.training",
}


class Writing(Protocol):
    """What the module of a target offers.

    One that `HAS_CARD` has the library that its folders are for, by the Hub's name and by its own.
    """

    HAS_CARD: bool
    LIBRARY: str
    OWNER: str

    def target_of(self, model: Model, request: Request, labels: Mapping[int, str] | None) -> Target: ...

    def documents(
        self, target: Target, plan: Plan, lost: Sequence[str], licence: str | None
    ) -> dict[str, dict[str, object]]: ...

    def write(self, target: Target, order: Order) -> list[WrittenFile]:
        """Write weights and documents."""
        ...

    def findings(
        self, target: Target, name: str, expected: Mapping[str, object], found: Mapping[str, object]
    ) -> tuple[Finding, ...]:
        """What differs between a document of a folder and the one that a conversion writes, with what it does."""
        ...

    def is_safe(
        self,
        expected: Mapping[str, Mapping[str, object]],
        config: Mapping[str, object],
        tensors: Mapping[str, TensorRef],
    ) -> bool:
        """Whether the library may be given a stranger's folder."""
        ...

    def runner(
        self, folder: Path, form: str, *, pooler: bool | None, without: Collection[str] = ()
    ) -> Runner | None: ...

    def processor(self, folder: Path) -> object:
        """What makes an input of a picture: called with one, it gives `pixel_values`. Raises what it raises."""
        ...

    def classes(self, target: Target) -> tuple[str, ...]:
        """What Transformers is asked for to run the folder."""
        ...

    def usage(self, target: Target, folder: str) -> tuple[str, ...]: ...

    def example(self, target: Target, folder: str) -> list[str]:
        """Python for a card, that loads the folder and runs it on a picture."""
        ...

    def cautions(self, target: Target, *, proven: bool) -> list[str]:
        """Lines of Markdown for a card: what may be otherwise than expected, and what was `proven` of outputs."""
        ...

    def tag(self, target: Target) -> str: ...


def writing_of(name: str) -> Writing:
    """The module of a target, imported when it is asked for."""
    return cast(Writing, import_module(MODULES[name]))
