"""What a model becomes in a codebase: one form of it, with the rules to its names, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dinoport.mapping.plan import Step
from dinoport.mapping.rule import Rule
from dinoport.networks.interpolation import Interpolation
from dinoport.networks.preprocessing import Preprocessing
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.start import Start


class Order(NamedTuple):
    """Where a form is written, and of what; `on_shard` is called with each of several weight files that is whole."""

    folder: Path
    steps: Sequence[Step]
    documents: Mapping[str, Mapping[str, object]]
    max_shard_bytes: int
    on_bytes: Callable[[int], None]
    on_shard: Callable[[Path], None]


@dataclass(frozen=True)
class Target:
    """One form, such as a class of Transformers, or the original's own file.

    `rules` lead from the canonical names to those of the form, `config` is the content of its config.json without the
    dtype. `image_size` is the one whose outputs are the original's, `baked_from` the one that a baked position table
    was stored for. `rule` says what other sizes rest on, where the original takes no other one. `resamples_alike` says
    that the form resamples the table as the original does, at every size. `others` are forms that hold the same, and
    `since` is the first library that has the form, where an older one that is supported has not. `pooler` says that it
    was given one. `preprocessing` is None where the form has no transform. `anew` are canonical tensors that the form
    has otherwise, though it computes the same: computed from the model's. `start` is what else a start for training
    has, `hub_entry` what of torch.hub takes a file of the form, `file` what that is called once it is written.
    """

    form: str
    title: str
    rules: tuple[Rule, ...]
    image_size: int
    channels: int
    config: Mapping[str, object] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    baked_from: int | None = None
    interpolation: Interpolation | None = None
    rule: str = ""
    resamples_alike: bool = False
    pooler: bool | None = None
    classifies: bool = False
    others: tuple[str, ...] = ()
    since: str = ""
    anew: Mapping[str, TensorRef] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    start: Start | None = None
    hub_entry: str | None = None
    file: str | None = None

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])
