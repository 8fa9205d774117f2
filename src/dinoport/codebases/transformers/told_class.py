"""Which class a folder of Transformers holds whose config.json names none: the one whose table takes every tensor."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dinoport.codebases.transformers.class_fields import CLASS_OF_TYPE, READ_TYPE
from dinoport.codebases.transformers.forms import is_known_class, named_class, table_of
from dinoport.errors import UnknownModelError
from dinoport.files.byte_sources import closed_on_error
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.claims import claims_of_target
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.folding import fold_names
from dinoport.shown.text import listed


def with_class(checkpoint: Checkpoint, *, inside: bool = True) -> Checkpoint:
    """The same checkpoint, with the class in its config.json that the tensors show.

    Where they are of no class of that type but for a part, or of the named one but below a prefix, words stand in place
    of its name: a backbone inside is looked for, as in every class that is not read here. Without `inside` the config
    is left so, as where the folder is held against a source. Whatever this raises, the checkpoint is closed.
    """
    with closed_on_error(checkpoint.close):
        return _with_class(checkpoint, inside=inside)


def _with_class(checkpoint: Checkpoint, *, inside: bool) -> Checkpoint:
    config = checkpoint.config or {}
    kind = str(config.get("model_type"))
    if inside and is_known_class(config) and named_class(config) and _lies_deeper(checkpoint):
        return replace(checkpoint, config={**config, "architectures": [f"{named_class(config)}{INSIDE}"]})
    if named_class(config) or kind not in CLASS_OF_TYPE:
        return checkpoint
    usual = CLASS_OF_TYPE[kind]
    try:
        found = dict(_tried(checkpoint, [usual, *(name for name, of in READ_TYPE.items() if of == kind)]))
    except UnknownModelError:  # of sizes, which is said where the folder is read
        return checkpoint
    told = next((name for name, decoding in found.items() if not decoding.problems), None)
    if told is None:
        told = usual if found[usual].steps or not inside else f"{kind}{INSIDE}"
    return checkpoint if told == usual else replace(checkpoint, config={**config, "architectures": [told]})


INSIDE = " inside another class"


def refuse_absent(where: str, name: str, tensors: Iterable[str]) -> None:
    """Raise UnknownModelError where a class that was taken to lie inside another lies nowhere."""
    if name.endswith(INSIDE):
        raise UnknownModelError(
            f"{where} does not hold the {name.removesuffix(INSIDE)} that its config.json names",
            expected="tensors under the names of that class, below whatever prefix",
            found=listed(fold_names(list(tensors)), 8),
            cause="another model's weights, or names that another code changed",
            next_step="give the folder as it was saved, or the file of weights alone",
        )


def _lies_deeper(checkpoint: Checkpoint) -> bool:
    """Whether no tensor has a name of the class: DDP, torch.compile or a model around it put something before them."""
    try:
        _, rules = table_of(checkpoint.where, checkpoint.config or {}, checkpoint.tensors)
    except UnknownModelError:
        return False
    return bool(checkpoint.tensors) and not any(claims_of_target(name, rules) for name in checkpoint.tensors)


def _tried(checkpoint: Checkpoint, names: list[str]) -> Iterator[tuple[str, Decoding]]:
    """Each class with what its table makes of the tensors. Raises UnknownModelError for a config without sizes."""
    for name in names:
        config = {**(checkpoint.config or {}), "architectures": [name]}
        _, rules = table_of(checkpoint.where, config, checkpoint.tensors)
        yield name, decode(checkpoint.tensors, rules)
