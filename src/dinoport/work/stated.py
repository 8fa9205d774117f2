"""What a file that is verified says of its model besides the tensors: heads, eps and interpolation, by its own word.

Its tensors are compared under the source's settings. A file that states others is another model, or computes otherwise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from dinoport.errors import DinoportError, SettingError, UnknownModelError
from dinoport.finding.models import read_model
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import Model, Origin, Setting
from dinoport.request import Request

COMPUTED_WITH = {"heads": "heads", "eps": "layer_norm_eps", "interpolation": "interpolation"}
"""Settings by the field of an architecture that they decide."""

STATED = (Origin.STORED, Origin.INFERRED, Origin.CLAIMED)
"""Origins of values that somebody says: a reader's own assumption is not one of them."""


def read_beside(source: Model, written: Checkpoint, heads: int | None = None) -> Model | DinoportError | None:
    """What is verified, read as a source by its own word; the refusal of what says that it is another model.

    None where its tensors are not read, which the exact proof finds.
    """
    own: int | None = getattr(source.architecture, "heads", None)
    try:
        return read_model(written, Request(num_heads=heads))[0]
    except SettingError as error:
        if error.missing != "num_heads" or own is None or heads is not None:
            return error
        return read_beside(source, written, own)  # neither says it, nor its width
    except UnknownModelError as error:
        return error
    except DinoportError:
        return None


def stated_otherwise(source: Model, target: Model) -> tuple[Setting[Any], ...]:
    """What the target states that the source has otherwise."""
    own = {setting.name: setting.value for setting in source.settings}
    return tuple(
        setting
        for setting in target.settings
        if setting.origin in STATED and own.get(setting.name, setting.value) != setting.value
    )


def computing_as(model: Model, stated: Sequence[Setting[Any]]) -> Model:
    """The model with these settings in its architecture: as the code that wrote the file would run it."""
    values = {COMPUTED_WITH[each.name]: each.value for each in stated if each.name in COMPUTED_WITH}
    known = {name: value for name, value in values.items() if hasattr(model.architecture, name)}
    return replace(model, architecture=replace(model.architecture, **known)) if known else model


def contradictions(source: Model, target: Model, stated: Sequence[Setting[Any]], name: str) -> Iterator[str]:
    """What makes it another model, in words. How a table is resampled is seen at other sizes alone."""
    own = {setting.name: setting for setting in source.settings}
    for each in stated:
        if each.name in COMPUTED_WITH and each.name != "interpolation":
            ours = own[each.name]
            yield f"{name} says {each.name} = {each.value} ({each.reason}), the source has {ours.value} ({ours.reason})"
    for part in getattr(source.architecture, "decides", ()):
        ours, theirs = (getattr(each.architecture, part) for each in (source, target))
        if ours != theirs:
            has, lacks = (name, "the source") if theirs else ("the source", name)
            yield f"{has} computes with a {part.replace('_', ' ')}, {lacks} without"


def unsaid(target: Model) -> list[str]:
    """What no tensor of the file shows and nothing in it says: it is computed with the source's."""
    silent = (Origin.ASSUMED, Origin.GIVEN)
    return [each.name for each in target.settings if each.name in UNSAID and each.origin in silent]


UNSAID = ("heads", "eps", "rope base")
"""Settings without which a file of weights cannot be run."""
