"""The field of ours in a folder's config.json: which original this was, and what the codebase's own fields cannot say.

Libraries keep the field when they save the model again, and the way back needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def original_fields(family: str, **facts: object) -> dict[str, object]:
    """The field, with those `facts` that say something.

    `classifier` is the name under which the original keeps its classifier, `baked_from` the input size of a position
    table that was resampled, `without` lists parts that the target has and the original has not.
    """
    return {"dinoport": {"family": family} | {name: fact for name, fact in facts.items() if fact}}


def with_losses(config: Mapping[str, object], lost: Sequence[str]) -> dict[str, object]:
    """The same config, with the parts of the original that the folder has lost for good in our own field."""
    record = config["dinoport"]
    if not lost or not isinstance(record, dict):
        return dict(config)
    return {**config, "dinoport": {**record, "lost": list(lost)}}


def record_of(config: Mapping[str, object]) -> Mapping[str, object]:
    """The field that we write into config.json; empty in a folder that we did not make."""
    record = config.get("dinoport")
    return record if isinstance(record, dict) else {}


LOSSES = {
    "local_cls_norm": "a norm for the local crops of training",
    "head": "the projection head of training",
    "dino_head": "a projection head of training",
    "ibot_head": "a projection head of training",
    "n_averaged": "a counter of training",
}
"""What a folder can have lost of its original, and what that is."""


def losses(config: Mapping[str, object]) -> Iterator[str]:
    """What the folder has lost for good, in words."""
    for name in recorded(config, "lost"):
        if isinstance(name, str) and name in LOSSES:
            yield f"{name} ({LOSSES[name]}) is not in the folder, and its values do not return"


def recorded(config: Mapping[str, object], field: str) -> list[object]:
    """A list of our own field."""
    found = record_of(config).get(field)
    return found if isinstance(found, list) else []
