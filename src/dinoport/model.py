"""The model in the middle: what a source holds, whoever named it, and what any target is written from.

Every value that decides what it computes is a setting, with where it came from.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from dinoport.mapping.decoding import Decoding
from dinoport.mapping.rule import Rule
from dinoport.networks.interpolation import INTERPOLATIONS, Interpolation
from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import option_of
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.networks.heads.reading import HeadReading

T = TypeVar("T", covariant=True)
A = TypeVar("A")


class Origin(str, Enum):
    """How far a value can be trusted."""

    STORED = "stored"
    """Read off the file: a shape, the presence of a tensor, the values of a buffer."""
    READ = "read"
    """Read from the trained weights by statistics, and so neither stored nor said: its reason has the figures."""
    INFERRED = "inferred"
    """Follows from something that the file or a config beside it says about how it was trained."""
    GIVEN = "given"
    """The user said so."""
    CLAIMED = "claimed"
    """A folder that is verified says so of itself, and nobody else: what is proven is proven on its word."""
    ASSUMED = "assumed"
    """Neither stored nor said: what the original's published models use. A wrong one makes another model."""


FIELDS = {
    "heads": "num_heads",
    "decoder heads": "decoder_heads",
    "eps": "layer_norm_eps",
    "interpolation": "interpolation",
    "codebase": "codebase",
    "pixel mean": "image_mean",
    "pixel std": "image_std",
}
"""Settings that a user can give, with the fields of a request that do."""

CLAIMANT = "the folder's dinoport.json"
CLAIM = f"{CLAIMANT} says so"
UNHASHED = f"{CLAIM} of a file of this name and size; its hash was not compared"

AGREE = ", and the weights agree"
"""Between who says a number of heads and the figures that bear it out."""


@dataclass(frozen=True)
class Setting(Generic[T]):
    """`name = value`, and in words why: `heads = 6 (width / 64)`.

    `resampling` marks a value that matters only where a position table is resampled, `doubted` one that the verdict's
    first line names though nobody gave it: candidates differ in it, or something contradicts it.
    """

    name: str
    value: T
    origin: Origin
    reason: str
    resampling: bool = False
    doubted: bool = False

    @property
    def named(self) -> bool:
        """Whether the verdict's first line names it, and does not only count it."""
        return self.doubted or self.origin in (Origin.GIVEN, Origin.CLAIMED)

    def __str__(self) -> str:
        return f"{self.name} = {self.value} ({self.reason})"


class Stated(NamedTuple):
    """A value that somebody states besides the tensors: who, how far that can be trusted, and whether it is doubted."""

    value: Any
    reason: str
    origin: Origin = Origin.STORED
    doubted: bool = False


OF_THE_MODEL = ("num_heads", "layer_norm_eps", "decoder_heads")
"""Fields with which a model was trained: another value is another model's."""


@dataclass(frozen=True)
class Wishes:
    """What is said about the original model besides its weights; `said_by` is who says so, if not the command line.

    `claimed` are the fields that only the folder says that is verified, `stated` those that the user does not give and
    something besides the tensors does, `overruled` what that says of those that the user gives. Only a config says
    `rope_theta`, from which periods are made, `mask_ratio` and `normed_loss`. `record` is what a folder of ours has
    kept of its original.
    """

    num_heads: int | None = None
    layer_norm_eps: float | None = None
    interpolation: str | None = None
    rope_theta: float | None = None
    decoder_heads: int | None = None
    mask_ratio: float | None = None
    normed_loss: bool | None = None
    said_by: str | None = None
    claimed: frozenset[str] = frozenset()
    record: Mapping[str, object] = field(default_factory=dict)
    stated: Mapping[str, Stated] = field(default_factory=dict)
    overruled: Mapping[str, Stated] = field(default_factory=dict)

    def filled(self, stated: Mapping[str, Stated]) -> Wishes:
        """The same, with what is stated in the place of every field that is not given."""
        own = {name: each for name, each in stated.items() if getattr(self, name, True) is None}
        values: dict[str, Any] = {name: each.value for name, each in own.items()}
        others = {
            name: each
            for name, each in stated.items()
            if name in OF_THE_MODEL and name not in {**own, **self.stated} and getattr(self, name) != each.value
        }
        return replace(self, stated={**self.stated, **own}, overruled={**others, **self.overruled}, **values)

    def overruling(self) -> Iterator[tuple[str, str]]:
        """Each field that is given and that the file states otherwise, with a word on it."""
        for name, each in self.overruled.items():
            given = f"{self.speaker(name)} {getattr(self, name)}"
            yield name, f"{given} is followed, where the file has {each.value} ({each.reason})"

    def speaker(self, field: str) -> str:
        """Where a value comes from: a file, or the option that set it."""
        if field in self.claimed:
            return CLAIMANT
        return self.stated[field].reason if field in self.stated else self.said_by or option_of(field)

    def asked(self, field: str) -> str:
        """A value with where it comes from, as a message names it: the user's is a field."""
        given = getattr(self, field)
        is_theirs = self.said_by is None and field not in {*self.claimed, *self.stated}
        return f"`{field}={given}`" if is_theirs else f"{field} = {given} ({self.speaker(field)})"

    def said(self, field: str) -> tuple[Origin, str]:
        """How far a value can be trusted, and why: the last two parts of a setting."""
        if field in self.claimed:
            return Origin.CLAIMED, CLAIM
        return self.stated[field].origin if field in self.stated else Origin.GIVEN, self.speaker(field)

    def doubted(self, field: str) -> bool:
        return field in self.stated and self.stated[field].doubted


def eps_setting(wishes: Wishes, otherwise: float, origin: Origin, reason: str) -> Setting[float]:
    """LayerNorm's epsilon: the user's word, else `otherwise` with what it rests on."""
    if wishes.layer_norm_eps is not None:
        said, doubted = wishes.said("layer_norm_eps"), wishes.doubted("layer_norm_eps")
        return Setting("eps", wishes.layer_norm_eps, *said, doubted=doubted)
    return Setting("eps", otherwise, origin, reason)


def interpolation_setting(
    wishes: Wishes, otherwise: Interpolation, origin: Origin, reason: str
) -> Setting[Interpolation]:
    """How the original resamples its position table: the user's word, else `otherwise` with what it rests on."""
    if wishes.interpolation is not None:
        otherwise = INTERPOLATIONS[wishes.interpolation]
        origin, reason = wishes.said("interpolation")
    return Setting("interpolation", otherwise, origin, reason, resampling=True)


def fixed(values: Mapping[str, object], origin: Origin, reason: str) -> tuple[Setting[object], ...]:
    """What an original's code has the same for all models, and no tensor shows."""
    return tuple(Setting(name, value, origin, reason) for name, value in values.items())


def columns_setting(features: str, head: str | None, own: Container[str], source: str) -> Setting[str]:
    """What the columns of a head look at: no shape tells. `own` is what `source` calls the layer.

    A user's own head may look at something else of the same size, such as the mean of the patches.
    """
    if head is None or head in own:
        return Setting("head columns", features, Origin.INFERRED, f"named as {source} names it")
    return Setting("head columns", features, Origin.ASSUMED, f"as {source} writes them", doubted=True)


def layers_called(names: Iterable[str]) -> set[str]:
    """The tensors of classifiers by these names, and of a second one, which looks at a distillation token."""
    return {f"{name}{second}.{leaf}" for name in names for second in ("", "_dist") for leaf in ("weight", "bias")}


NOT_SHOWN = (Origin.INFERRED, Origin.ASSUMED, Origin.CLAIMED, Origin.GIVEN)
"""Origins of values that no proof can see: a wrong one is wrong on both sides."""


@dataclass(frozen=True)
class Family:
    """Models of one kind, by the codebase that trains them.

    `drops` are the tensors that training keeps beside the backbone, `classifiers` the names that a classifier can have,
    first the one that a head from a file of its own gets. `beside` are those that the original's own code keeps beside
    its `backbone`. `upstream` is empty where nothing tells it, and `values` are whose it is given then. `states` are
    tensors that a run's file keeps beside its models, by the keys that lead to them, and that training on can take up.
    """

    name: str
    title: str
    upstream: str
    drops: tuple[Rule, ...]
    preprocessing: Preprocessing
    classifiers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    values: str = ""

    @property
    def whose(self) -> str:
        """Whose code tells what is assumed."""
        return self.upstream or self.values

    def __str__(self) -> str:
        return f"{self.title} ({self.upstream})" if self.upstream else self.title


@dataclass(frozen=True)
class Model:
    """One model of a source. `decoding` holds its tensors under canonical names, and says what became of all others.

    `title` is what its names are called: a family's, or a class's. `classifier` is what the original calls that part,
    `record` what the folder that it was read from keeps of its original. `preprocessing` is the transform that it is
    evaluated with. `heads` is what the weights say of the number of heads, where they were asked; `warnings` are for
    the verdict, `contradicted` are values of a folder's report that the source states otherwise.
    """

    where: str
    title: str
    family: Family
    architecture: Architecture
    decoding: Decoding
    settings: tuple[Setting[object], ...]
    preprocessing: Preprocessing
    classifier: str | None = None
    labels: Mapping[int, str] | None = None
    record: Mapping[str, object] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    heads: HeadReading | None = None
    warnings: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()

    @property
    def lost(self) -> tuple[str, ...]:
        """The parts that the original had, and a folder that it was read from has lost for good, by its own record."""
        before = self.record.get("lost")
        return tuple(name for name in before if isinstance(name, str)) if isinstance(before, list) else ()

    @property
    def tensors(self) -> Mapping[str, TensorRef]:
        return self.decoding.tensors

    def architecture_as(self, network: type[A]) -> A:
        """The architecture of the network that a form was chosen by. Raises TypeError for another one."""
        if not isinstance(self.architecture, network):
            raise TypeError(f"{self.title} is not a {network.__name__}: {self.architecture}")
        return self.architecture

    def assumed(self, *, resampled: bool) -> tuple[Setting[object], ...]:
        """What the source does not show, and matters: a proof computes both sides with it, whoever says it.

        `resampled` says whether a position table was resampled.
        """
        return tuple(
            setting
            for setting in self.settings
            if setting.origin in NOT_SHOWN and (resampled or not setting.resampling)
        )
