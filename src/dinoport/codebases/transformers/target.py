"""What a checkpoint becomes: a class of Transformers, its config, its image processor, and the rules to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dinoport.codebases.preprocessing import Preprocessing
from dinoport.mapping.rule import Rule
from dinoport.networks.interpolation import Interpolation


@dataclass(frozen=True)
class Choices:
    """What the user wants of the target. `image_size` in pixels of a square input, `labels` by class index."""

    image_size: int | None = None
    pooler: Literal["identity", "none"] = "identity"
    labels: Mapping[int, str] | None = None
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Target:
    """One class of Transformers, ready to be written.

    `config` is the content of config.json without the dtype, `rules` lead from the family's names to the names on
    disk. `image_size` is the one whose outputs are the original's, `baked_from` the one that a baked position table was
    stored for. `resamples_alike` says that the class resamples the table as the original does, at every size.
    """

    class_name: str
    config: Mapping[str, object]
    rules: tuple[Rule, ...]
    preprocessing: Preprocessing
    image_size: int
    channels: int
    baked_from: int | None = None
    interpolation: Interpolation | None = None
    resamples_alike: bool = False
    notes: tuple[str, ...] = ()

    @property
    def classifies(self) -> bool:
        return self.class_name.endswith("ForImageClassification")

    @property
    def auto_class(self) -> str:
        return "AutoModelForImageClassification" if self.classifies else "AutoModel"

    @property
    def pipeline_tag(self) -> str:
        return "image-classification" if self.classifies else "image-feature-extraction"

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])
