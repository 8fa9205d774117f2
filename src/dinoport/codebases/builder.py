"""The builder that a training says it used, and the settings that follow from it where the tensors bear it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dinoport.codebases.heads import UNSEEN, Weighed, head_reader, read_from_weights, weighed
from dinoport.errors import SettingError
from dinoport.formats.transformers_folder import CONFIG, WEIGHTS
from dinoport.model import Origin, Setting, Wishes
from dinoport.shown.text import as_word, counted

if TYPE_CHECKING:
    from dinoport.codebases.codebase import Evidence, Facts
    from dinoport.codebases.vit_sizes import ViTSizes
    from dinoport.networks.heads.reading import HeadReading

HEAD_DIM = 64
"""Width of one attention head in every ViT that the DINO codebases publish, DINOv3's 7B excepted."""


class Builder(NamedTuple):
    """A function of an original codebase that builds a model: its name, its width and its number of heads."""

    arch: str
    width: int
    heads: int


class SaidInTraining(NamedTuple):
    """What a training says besides its weights: who says it, and what."""

    speaker: str
    arch: str | None = None
    patch_size: object = None


class Belief(NamedTuple):
    """A builder that is followed, or a remark on why the named one is not."""

    said: SaidInTraining
    builder: Builder | None = None
    remarks: tuple[str, ...] = ()

    def from_code(self, otherwise: str) -> tuple[Origin, str]:
        """How far a value can be trusted that is fixed in the original's code and stored nowhere."""
        if self.builder:
            return Origin.INFERRED, f"the code of {self.builder.arch}, from {self.said.speaker}"
        return Origin.ASSUMED, otherwise


def believe(said: SaidInTraining, builders: Mapping[str, Sequence[Any]], sizes: ViTSizes) -> Belief:
    """Believe the builder that was named if its sizes and patch size are the tensors'. Unknown names say nothing.

    `builders` are by name: each begins with its width, its heads and its depth.
    """
    found = builders.get(said.arch or "")
    if found is None or said.arch is None:
        return Belief(said)
    builder = Builder(said.arch, *found[:2])
    if builder.width != sizes.width:
        contradiction = f"has width {builder.width}, the tensors have {sizes.width}"
    elif found[2] != sizes.depth:
        contradiction = f"has {counted(found[2], 'block')}, the tensors have {sizes.depth}"
    elif said.patch_size not in (None, sizes.patch_size):
        contradiction = f"goes with patch size {said.patch_size}, the tensors have {sizes.patch_size}"
    else:
        return Belief(said, builder)
    return Belief(said, remarks=(f"{said.arch}, from {said.speaker}, was ignored: it {contradiction}",))


def heads_setting(
    where: str,
    wishes: Wishes,
    width: int,
    belief: Belief,
    reading: Callable[[], HeadReading] | None = None,
    *,
    weigh: bool = False,
    published: Setting[int] | None = None,
) -> Weighed:
    """The number of heads: the user's word, else the training's, else what all published models have.

    `reading` reads the weights. They choose where nobody says it and 64 does not divide the width; with `weigh` they
    are held against every other value too. `published` is what a relative's models of this size have. Raises
    SettingError where nobody knows it, where the user's does not fit, and where the weights contradict what would be
    assumed.
    """
    setting = _said_or_assumed(where, wishes, width, belief, published)
    if setting is not None:
        held = weighed(where, setting, reading()) if reading and weigh else Weighed(setting)
        return held._replace(warnings=(*_overruled(wishes, belief, held.setting), *held.warnings))
    shown = reading() if reading else None
    chosen = read_from_weights(shown) if shown else None
    if chosen is not None:
        return chosen
    raise SettingError(
        f"the number of attention heads of {where} is not known",
        expected=f"`num_heads`; or a width that {HEAD_DIM} divides, as in all published models; "
        "or weights that show it",
        found=f"width {width}"
        + (f"; the weights cannot tell: {shown.silence}" if shown else "")
        + "".join(f"; {remark}" for remark in belief.remarks),
        cause=UNSEEN,
        next_step=_next_step(where),
        missing="num_heads",
    )


def heads_of(evidence: Evidence, sizes: ViTSizes, facts: Facts, belief: Belief) -> Weighed:
    """The number of heads of a ViT with a table of positions, from all there is to go by."""
    return heads_setting(
        evidence.where,
        evidence.wishes,
        sizes.width,
        belief,
        head_reader(evidence.tensors, sizes.width),
        weigh=evidence.weigh_heads,
        published=_published_heads(facts, sizes.width, sizes.depth),
    )


def _next_step(where: str) -> str | tuple[str, ...]:
    """Where weights were given without the config that lies in their folder, the folder comes first."""
    path, add = Path(where), "add `num_heads=N`, with N from the code or config that trained the model"
    if path.name not in WEIGHTS or not path.with_name(CONFIG).is_file():
        return add
    return f"give the whole folder, whose config.json may say it: {as_word(path.parent)}", add


def _overruled(wishes: Wishes, belief: Belief, heads: Setting[int]) -> Iterator[str]:
    """That the user's word is followed where the training names a builder of another number, and no weights decide."""
    builder, given = belief.builder, wishes.num_heads
    if builder and given is not None and given != builder.heads and heads.origin is not Origin.READ:
        speaker = wishes.speaker("num_heads")
        yield f"{speaker} {given} is followed, where {builder.arch}, from {belief.said.speaker}, has {builder.heads}"


def _published_heads(facts: Facts, width: int, depth: int) -> Setting[int] | None:
    """The heads of a relative's models of this size, where width / 64 is wrong for them."""
    heads = facts.heads.get((width, depth))
    if heads is None:
        return None
    reason = f"as in {facts.models} models of width {width} and depth {depth}"
    return Setting("heads", heads, Origin.ASSUMED, reason, doubted=True)


def _said_or_assumed(
    where: str, wishes: Wishes, width: int, belief: Belief, published: Setting[int] | None
) -> Setting[int] | None:
    if wishes.num_heads is not None:
        heads = checked_heads(where, wishes, width, wishes.num_heads)
        return Setting("heads", heads, *wishes.said("num_heads"), doubted=wishes.doubted("num_heads"))
    if belief.builder:
        reason = f"{belief.builder.arch}, from {belief.said.speaker}"
        return Setting("heads", belief.builder.heads, Origin.INFERRED, reason)
    if published is not None or width % HEAD_DIM:
        return published
    return Setting("heads", width // HEAD_DIM, Origin.ASSUMED, f"width / {HEAD_DIM}", doubted=True)


def checked_heads(where: str, wishes: Wishes, width: int, given: int) -> int:
    """The user's number of heads. Raises SettingError where it does not divide the width."""
    if given > 0 and width % given == 0:
        return given
    raise SettingError(
        f"{wishes.asked('num_heads')} does not divide the width of this model",
        where=where,
        expected=f"a divisor of {width}",
        found=str(given),
        next_step="look up num_heads in the code or config that trained the model",
    )
