"""What a folder that is verified says of the original it came from, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.setting import CLAIM, Origin, Setting
from dinoport.request import Request


def claims(request: Request, claimed: frozenset[str], own: Preprocessing) -> Iterator[Setting[object]]:
    """The `claimed` fields of a request that say something about the original and stand in no architecture.

    `own` is the transform that goes with the model. What a folder says of itself (dtype, image size, pooler) rests on
    no one's word: it is compared as it is, and the verdict names what it changes.
    """
    ordinary = {"image_mean": own.mean, "image_std": own.std}
    for name in ("checkpoint_key", "head", "labels", "image_mean", "image_std"):
        value = getattr(request, name)
        if name in claimed and value != ordinary.get(name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            yield Setting(name.replace("_", " "), text, Origin.CLAIMED, CLAIM)
