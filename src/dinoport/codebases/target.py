"""What a model becomes in a codebase: one form of it, with the rules to its names, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dinoport.mapping.rule import Rule
from dinoport.networks.interpolation import Interpolation
from dinoport.networks.preprocessing import Preprocessing
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.start import Start


@dataclass(frozen=True)
class Target:
    """One form, such as a class of Transformers, or the original's own file.

    `rules` lead from the canonical names to those of the form, `config` is the content of its config.json without the
    dtype. `image_size` is the one whose outputs are the original's, `baked_from` the one that a baked position table
    was stored for, under the name `table`. `rule` says what other sizes rest on,
    where the original takes no other one. `resamples_alike` says that the form resamples the table as the original
    does, at every size. `others` are forms that hold the same, and `since` is the first library that has the form,
    where an older one that is supported has not. `pooler` says that it was given one. `preprocessing` is None where the
    form has no transform. `anew` are canonical tensors that the form has otherwise, though it computes the same:
    computed from the model's. `start` is what else a start for training has, `hub_entry` what of torch.hub takes
    a file of the form, `file` what that is called once it is written.
    """

    form: str
    title: str
    rules: tuple[Rule, ...]
    image_size: int
    channels: int
    config: Mapping[str, object] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    baked_from: int | None = None
    table: str | None = None
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


def sizes_lines(target: Target, library: str, processor: str, options: str) -> list[str]:
    """For a card: at which input sizes outputs are the original's, and the `options` that make a folder for another.

    `processor` is what the `library` calls the transform that it makes for the folder.
    """
    if target.interpolation is None:
        return []
    if target.rule:
        return [_sizes_assumed(target)]
    size = f"{target.image_size}×{target.image_size} pixels"
    if target.baked_from:
        return [
            f"- The position table was resampled once from {target.baked_from} to {target.image_size} pixels by the "
            "original's own rule. At this size outputs are the original's; other sizes, "
            f"{target.baked_from} among them, are resampled a second time."
        ]
    if target.resamples_alike:
        return [
            f"- The class computes as the original does at every size: {library} resamples the position table alike."
        ]
    lines = [
        f"- The class computes as the original does at {size}. At other sizes {library} resamples the position table "
        f"by another rule than the original ({target.interpolation}); `dinoport convert {options}` makes a folder for "
        "one other size."
    ]
    own = target.preprocessing.size if target.preprocessing else target.image_size
    if own != target.image_size and target.channels == 3:
        lines.append(
            f"- The {processor} here makes {own}×{own} pixels, as the original's evaluation does, so this difference "
            f"is there unless the folder is made with `--image-size {own}`."
        )
    return lines


def _sizes_assumed(target: Target) -> str:
    """Of sizes that the original does not take."""
    if target.baked_from:
        sides = f"{target.baked_from} to {target.image_size}"
        return f"- The position table was resampled once from {sides} pixels by an assumed rule: {target.rule}."
    return f"- At other sizes than {target.image_size}×{target.image_size} pixels a rule is assumed: {target.rule}."
