"""Who names a network: how a codebase's files are told apart, its table, and what it says besides its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from dinoport.mapping.claims import Problem
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Family, Setting, Stated, Wishes
from dinoport.networks.interpolation import Interpolation
from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import Preprocessing
from dinoport.tensor import Shape, TensorRef

if TYPE_CHECKING:
    from dinoport.formats.run_config import RunConfig
    from dinoport.networks.heads.reading import HeadReading


@dataclass(frozen=True)
class Facts:
    """What the models of a codebase compute with, and no tensor shows, where it differs from its relatives.

    `models` is what they are called. `heads` are by width and depth, where they are not width / 64. `interpolation` is
    the rule that resamples the position table and `rule` says where it is from; None means that the code of the family
    whose names they have decides. `says_builder` tells that arguments name a builder of that family too.
    `decoder_heads` are those of a decoder, by its own width and depth. One that `takes_one_size` resamples no table in
    its own code: `rule` says what is done in its place. `preprocessing` is that of the relative's family.
    """

    models: str
    heads: Mapping[tuple[int, int], int] = field(default_factory=dict)
    decoder_heads: Mapping[tuple[int, int], int] = field(default_factory=dict)
    interpolation: Interpolation | None = None
    rule: str = ""
    preprocessing: Preprocessing | None = None
    says_builder: bool = False
    takes_one_size: bool = False

    def as_in_all(self) -> str:
        return f"as in all {self.models} models"


@dataclass(frozen=True)
class Evidence:
    """What a family has to go by: canonical tensors, what the training keeps beside them, and the user's word.

    `arguments` are the checkpoint's own `args`, `config` is the run's `config.yaml`. `declared` are the names of
    tensors that the file does not hold, because the codebase that wrote it leaves them out. `classifier` is what the
    layer is called that became `classifier`, `head` what it is called in a file of its own, if it came from one.
    `weigh_heads` asks to hold the number of heads against the weights, which takes reading some. `preprocessing` is the
    transform that a config besides the tensors describes. `facts` are those of a relative, whose models have the names
    of the family that reads them.
    """

    where: str
    tensors: Mapping[str, TensorRef]
    arguments: Mapping[str, object] = field(default_factory=dict)
    wishes: Wishes = field(default_factory=Wishes)
    config: RunConfig | None = None
    declared: frozenset[str] = frozenset()
    classifier: str | None = None
    head: str | None = None
    weigh_heads: bool = False
    facts: Facts | None = None
    preprocessing: Preprocessing | None = None

    def shape(self, name: str) -> Shape | None:
        tensor = self.tensors.get(name)
        return tensor.shape if tensor else None

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}


class Reading(NamedTuple):
    """The model that tensors are: its architecture, where each value came from, and what does not fit.

    `preprocessing` is None where it is the family's own. `doubts` are what a config or arguments say otherwise than the
    tensors. `heads` is what the weights say of the number of heads, where they were asked. `warnings` are for the
    verdict. `stated` is what a config says of tensors that the file lacks: the model is read again with it.
    """

    architecture: Architecture
    settings: tuple[Setting[object], ...]
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    heads: HeadReading | None = None
    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    stated: Mapping[str, Stated] = {}


class HubEntry(NamedTuple):
    """`torch.hub.load(repo, name, **arguments)`, beside `pretrained=False`."""

    repo: str
    name: str
    arguments: Mapping[str, object] = {}


Arranged: TypeAlias = Callable[[Mapping[str, TensorRef]], tuple[Mapping[str, TensorRef], tuple[str, ...]]]
"""The tensors as a table takes them, some of them computed from others; and remarks on that."""


def as_they_are(tensors: Mapping[str, TensorRef]) -> tuple[Mapping[str, TensorRef], tuple[str, ...]]:
    return tensors, ()


@dataclass(frozen=True)
class Naming:
    """How one codebase names the tensors of one network.

    `module` is imported once a file is recognised; behind a colon is what in it is meant. It has `FAMILY`, whose models
    these are; `read(evidence)`, which gives the settings of one from its canonical tensors; and, where its names are
    not the canonical ones, the table from those to its own: `RULES`, or `written(names, classifier)` or `rules(shapes,
    wishes)` where it depends on the model. It may have `arranged(tensors)`, where its files have several layouts, and
    which gives one; `made_before(beside)`, where a conversion makes what its training keeps beside a backbone, with
    the names of that; `hub_entry(architecture, image_size)`, the entry of the codebase's own hubconf.py that builds a
    model, or None; and `whole_shapes(sizes, where, config)`, the shapes of tensors that its training saves in flat
    pieces. `family` is the name of the family where it is this codebase that trains it. `classifier_beside` says where
    a class of the codebase keeps its classifier, whose backbone lies below a prefix. What is `given` takes the module's
    place.
    """

    codebase: str
    module: str
    recognises: Callable[[Mapping[str, Shape]], bool]
    family: str = ""
    classifier_beside: Callable[..., str | None] = lambda prefix, names, *, whole: None
    given: Any = None

    @property
    def code(self) -> Any:
        if self.given is not None:
            return self.given
        module, _, name = self.module.partition(":")
        found = import_module(module)
        return getattr(found, name) if name else found

    def rules(self, shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
        """The table for a model of these shapes. Raises SettingError where it needs what nobody says."""
        if hasattr(self.code, "rules"):
            found: tuple[Rule, ...] = self.code.rules(shapes, wishes)
            return found
        return self.written(shapes, classifier_of(shapes, self.code.FAMILY))

    def written(self, names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
        """The table of a model of these names, canonical or own, and of what it calls its classifier."""
        own = getattr(self.code, "written", canonical_rules)
        found: tuple[Rule, ...] = getattr(self.code, "RULES", ()) or own(names, classifier)
        return found

    def made_before(self, beside: Mapping[str, TensorRef]) -> frozenset[str]:
        """Those names of what training keeps beside a backbone that a conversion of ours has made."""
        own = getattr(self.code, "made_before", None)
        return own(beside) if own else frozenset()

    def arranged(self, tensors: Mapping[str, TensorRef]) -> tuple[Mapping[str, TensorRef], tuple[str, ...]]:
        arranged: Arranged = getattr(self.code, "arranged", as_they_are)
        return arranged(tensors)


def classifier_of(shapes: Mapping[str, Shape], family: Family) -> str | None:
    """What the family's classifier is called in a file of these names; None without one."""
    return next((name for name in reversed(family.classifiers) if f"{name}.weight" in shapes), None)


def canonical_rules(names: Sequence[str] | Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """The table of a codebase whose names are the canonical ones, but for what it calls its `classifier`."""
    own = {f"{classifier}.weight", f"{classifier}.bias"} if classifier else set()
    others = (name for name in names if name not in own and not (own and name.startswith("classifier.")))
    templates = dict.fromkeys(map(_template, others))
    renamed = (copy("classifier.{p}", f"{classifier}.{{p}}"),) if classifier else ()
    return (*(copy(template, template) for template in templates), *renamed)


_PLACEHOLDERS = "abcdefghijklmno"
_NUMBER = re.compile(r"(?<=\.)(?:0|[1-9][0-9]{0,5})(?=\.)")


def _template(name: str) -> str:
    """A name with a placeholder for each number in its path, so that one rule stands for all blocks."""
    letters = iter(_PLACEHOLDERS)
    return _NUMBER.sub(lambda found: f"{{{letter}}}" if (letter := next(letters, None)) else found[0], name)
