"""Whether a model is a stranger, and what is said of it then."""

from dinoport.codebases.stranger_signs import Shapes
from dinoport.codebases.strangers import CHANGED, HEADS, STRANGERS, Stranger
from dinoport.errors import UnknownModelError
from dinoport.files.names import short_text


def stranger_of(shapes: Shapes, *, heads: bool = False, named: bool = False) -> tuple[Stranger, str] | None:
    """Whose these names are, if they are one of these, and what tells it.

    With `heads`, heads that lie in a file without a backbone are looked at too. `named` says that a config names the
    family.
    """
    return _told(shapes, STRANGERS + HEADS if heads else STRANGERS, named=named)


def _told(shapes: Shapes, among: tuple[Stranger, ...], *, named: bool = False) -> tuple[Stranger, str] | None:
    told = ((stranger, stranger.told_by(shapes, named=named)) for stranger in among)
    return next(((stranger, sign) for stranger, sign in told if sign is not None), None)


def refuse_kind(where: str, kind: object) -> None:
    """Raise UnknownModelError for a folder of Transformers that holds one of these models, by its name."""
    found = next((stranger for stranger in STRANGERS + CHANGED if kind in stranger.kinds), None)
    if found is not None:
        raise _unlike_dino(where, "config.json: model_type", found, str(kind))


def refuse_changed(where: str, label: str | None, shapes: Shapes) -> None:
    """Raise UnknownModelError for a model whose backbone only has the names of one that is known."""
    found = _told(shapes, CHANGED)
    if found is not None:
        raise _unlike_dino(where, label, *found)


def refuse_builder(where: str, architecture: str) -> None:
    """Raise UnknownModelError for a folder of timm that holds one of these models, by its builder's name."""
    found = next((each for each in STRANGERS for part in each.builders if part in architecture), None)
    if found is not None:
        raise _unlike_dino(where, "config.json: architecture", found, short_text(architecture))


def refuse_stranger(where: str, label: str | None, shapes: Shapes, *, heads: bool = False, named: bool = False) -> None:
    """Raise UnknownModelError for names of another model, by its name. `label` is where in the file they lie.

    `named` says that a config names the family.
    """
    found = stranger_of(shapes, heads=heads, named=named)
    if found is not None:
        raise _unlike_dino(where, label, *found)


def _unlike_dino(where: str, label: str | None, stranger: Stranger, sign: str) -> UnknownModelError:
    return UnknownModelError(
        f"{where} is {stranger.title}, and no model of the DINO family",
        where=label,
        expected="a model that dinoport reads (dinoport models, docs/families)",
        found=sign,
        cause=stranger.what,
        next_step=stranger.go,
    )
