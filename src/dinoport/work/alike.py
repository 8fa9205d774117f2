"""Two sides that compute the same where one names tensors that the other leaves out: the source, made like the target.

A codebase that always has a layer scale or a bias holds the ones or zeros that change nothing, and one without a place
for a mask token has none.
"""

import re
from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from dinoport.mapping.constants import ones, zeros
from dinoport.mapping.operations import Kind, Rows
from dinoport.mapping.plan import Span, Step
from dinoport.model import Model, Origin, Setting

NEUTRAL = {
    re.compile(r"blocks\.\d+\.ls\d\.gamma"): ones,
    re.compile(r"stages\.\d+\.\d+\.gamma"): ones,
    re.compile(r"blocks\.\d+\.(attn|mlp)\.\w+\.bias"): zeros,
}
"""Tensors that a model can do without, and the value with which they change nothing."""

CHANGES_NOTHING = "it changes nothing with this value"


def alike(source: Model, target: Model) -> Model:
    """The source with those tensors that the target has and that change nothing, and without those that it lacks."""
    own, theirs = source.decoding.steps, target.decoding.steps
    unused = getattr(source.architecture, "unused", ())
    added = {
        name: _declared(step, made or zeros)
        for name, step in theirs.items()
        if name not in own and ((made := _neutral(name)) or name in unused)
    }
    left = {name for name, step in own.items() if name not in theirs and (name in unused or _changes_nothing(step))}
    if not added and not left:
        return source
    steps = {**{name: step for name, step in own.items() if name not in left}, **added}
    architecture = _with_parts(source.architecture, steps.keys())
    return replace(source, architecture=architecture, decoding=replace(source.decoding, steps=steps))


def with_transform_of(source: Model, target: Model) -> Model:
    """A source that states no transform, with the target's, where a conversion would give it another."""
    own, said = source.preprocessing, target.preprocessing
    differ = any(getattr(own, name) != getattr(said, name) for name in ("resize", "crop", "resample", "mean", "std"))
    if own.stored or not said.stored or not differ:
        return source
    reason = f"the source says none, and a conversion takes another: {own.reason}"
    doubt = Setting("transform of pictures", "the target's", Origin.ASSUMED, reason, doubted=True)
    return replace(source, preprocessing=said, settings=(*source.settings, doubt))


def _neutral(name: str) -> Any:
    return next((made for pattern, made in NEUTRAL.items() if pattern.fullmatch(name)), None)


def _changes_nothing(step: Step) -> bool:
    made = _neutral(step.target.name)
    return made is not None and all((block == int(made is ones)).all() for block in step.blocks())


def _declared(step: Step, made: Any) -> Step:
    spec = step.target
    tensor = made(*spec.shape).tensor(spec.name, spec.dtype)
    return Step(spec, (Span(tensor, 0, tensor.size),), Rows(), Kind.SYNTHESISED, spec.shape, CHANGES_NOTHING)


def _with_parts(architecture: Any, names: Collection[str]) -> Any:
    """The architecture with those of its optional parts that these names are of."""
    for switch in (each.name for each in fields(architecture) if type(getattr(architecture, each.name)) is bool):
        other = replace(architecture, **{switch: not getattr(architecture, switch)})
        before, after = (len(each.tensors().keys() ^ names) for each in (architecture, other))
        architecture = other if after < before else architecture
    return architecture
