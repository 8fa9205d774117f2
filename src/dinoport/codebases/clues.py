"""What may tell whose a model is, and the signs that do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from dinoport.codebases.shapes import count_blocks
from dinoport.model import CLAIM
from dinoport.tensor import Shape, TensorRef


@dataclass(frozen=True)
class Clues:
    """What may tell whose a model is, beside the sizes of its tensors.

    `tensors` have the names of the file, without prefixes; `place` is what stood in front of them, and the keys they
    lie under; `keys` are the file's own top-level ones, `arguments` its `args` and `arch`. `file_name` is how the file
    is called, `published` the family of the published model that it is beyond doubt, `recorded` the one that a folder
    of ours says, `architecture` what timm's config.json calls it. `untold` says that a conversion wrote the file,
    and knew of nobody; `written` gives the family that the conversion knew, and reads the whole file for it;
    `claim` says how far these two are known to be of this file.
    """

    tensors: Mapping[str, TensorRef]
    place: str = ""
    keys: frozenset[str] = frozenset()
    arguments: Mapping[str, object] = field(default_factory=dict)
    file_name: str = ""
    published: str | None = None
    recorded: str | None = None
    architecture: str = ""
    untold: bool = False
    written: Callable[[], str | None] = lambda: None
    claim: str = CLAIM

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def size(self) -> tuple[int, int]:
        """Width and depth, as far as the names show them; 0 where they do not."""
        return self.shapes.get("patch_embed.proj.weight", (0,))[0], count_blocks(self.shapes)

    @property
    def patch_size(self) -> int:
        return self.shapes.get("patch_embed.proj.weight", (0,))[-1]

    @cached_property
    def fixed_table(self) -> str | None:
        """What the first half of the position table's channels encodes, where it is made of sines and cosines."""
        from dinoport.codebases.fixed_table import encoded_first

        return encoded_first(self.tensors.get("pos_embed"))


def called(clues: Clues, *parts: str) -> str | None:
    """What timm's config.json calls a model, where one of these is a part of it."""
    return f"config.json, {clues.architecture}" if any(part in clues.architecture for part in parts) else None


class Signs(NamedTuple):
    """What tells a relative, each by itself: parts of `names` of tensors, of the `place`, top-level `keys` that stand
    together, names in the `arguments`, and beginnings of what they, or timm's config.json, call the model (`builders`).

    `tells` looks closer. All these are sure. `files` are beginnings of published files' names, and `guesses` what fits
    the relative best: by both it is taken for one, and the verdict says so.
    """

    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    keys: tuple[frozenset[str], ...] = ()
    arguments: tuple[str, ...] = ()
    builders: tuple[str, ...] = ()
    tells: Callable[[Clues], str | None] = lambda clues: None
    files: tuple[str, ...] = ()
    guesses: Callable[[Clues], str | None] = lambda clues: None

    def sure(self, clues: Clues) -> str | None:
        """What tells it beyond doubt, in words."""
        named = (name for name in clues.tensors for sign in self.names if f".{sign}" in f".{name}")
        placed = (f"the prefix {clues.place}" for sign in self.places if f".{sign}" in f".{clues.place}")
        keyed = (f"the keys {', '.join(sorted(keys))}" for keys in self.keys if keys <= clues.keys)
        argued = (f"args.{name}" for name in self.arguments if name in clues.arguments)
        found = next((sign for signs in (named, placed, keyed, argued) for sign in signs), None)
        return found or self._built(clues) or self.tells(clues)

    def _built(self, clues: Clues) -> str | None:
        called = {"args.model": clues.arguments.get("model"), "config.json": clues.architecture or None}
        for where, name in called.items():
            if isinstance(name, str) and name.startswith(self.builders):
                return f"{where}, {name}"
        return None

    def likely(self, clues: Clues) -> str | None:
        if clues.file_name.startswith(self.files):
            return "the file's name"
        return self.guesses(clues)
