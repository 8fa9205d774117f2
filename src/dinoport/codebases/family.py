"""What every family offers: recognise its state dicts, read the architecture off them, say what it drops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from dinoport.codebases.dialect import Dialect
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.setting import Origin, Setting, Wishes
from dinoport.mapping.resolve import Problem
from dinoport.mapping.rule import Rule
from dinoport.networks.convnext.architecture import DinoV3ConvNext
from dinoport.networks.resnet.architecture import DinoResNet
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.networks.vit.architecture import DinoViT
from dinoport.networks.vit2.architecture import DinoV2ViT
from dinoport.tensor import Shape, TensorRef

Architecture: TypeAlias = DinoViT | DinoResNet | DinoV2ViT | DinoV3ViT | DinoV3ConvNext


class RunConfig(Protocol):
    """A training run's config. Values are asked for by dotted names; None where there is none of that type."""

    @property
    def name(self) -> str: ...

    @property
    def where(self) -> str: ...

    def text(self, name: str) -> str | None: ...

    def number(self, name: str) -> float | None: ...

    def flag(self, name: str) -> bool | None: ...


@dataclass(frozen=True)
class Evidence:
    """What a family has to go by: bare tensors, what the training keeps beside them, and the user's word.

    `arguments` are the checkpoint's own `args`, `config` is the run's `config.yaml`. `declared` are the names of
    tensors that the file does not hold, because the codebase that wrote it leaves them out.
    `head` is what the file of a linear head calls its layer, if one came along.
    """

    where: str
    tensors: Mapping[str, TensorRef]
    arguments: Mapping[str, object] = field(default_factory=dict)
    wishes: Wishes = field(default_factory=Wishes)
    config: RunConfig | None = None
    declared: frozenset[str] = frozenset()
    head: str | None = None

    def shape(self, name: str) -> Shape | None:
        tensor = self.tensors.get(name)
        return tensor.shape if tensor else None


NOT_SHOWN = (Origin.ASSUMED, Origin.CLAIMED, Origin.GIVEN)
"""Origins of values that no proof can see: a wrong one is wrong on both sides."""


@dataclass(frozen=True)
class Reading:
    """The model that a state dict holds: its architecture, where each value came from, and what does not fit.

    `preprocessing` is None where it is the family's own.
    """

    architecture: Architecture
    settings: tuple[Setting[object], ...]
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def assumed(self, *, resampled: bool) -> tuple[Setting[object], ...]:
        """What the file does not show, and matters: a proof computes both sides with it, whoever says it.

        `resampled` says whether a position table was resampled.
        """
        return tuple(
            setting
            for setting in self.settings
            if setting.origin in NOT_SHOWN and (resampled or not setting.resampling)
        )


@dataclass(frozen=True)
class Family:
    """One original codebase's models of one kind.

    `drops` are the tensors that its training keeps beside the backbone, `classifier` the name that a linear head from
    a file of its own gets. `reference` names the module with the original's forward pass; it is imported only to
    verify.
    """

    name: str
    title: str
    upstream: str
    recognises: Callable[[Mapping[str, Shape]], bool]
    read: Callable[[Evidence], Reading]
    drops: tuple[Rule, ...]
    preprocessing: Preprocessing
    reference: str
    classifier: str
    dialects: tuple[Dialect, ...] = ()
