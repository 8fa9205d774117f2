"""The field of ours in a folder's config.json: which original this was, and what the codebase's own fields cannot say.
And what our report beside an original's file says of it.

Libraries keep the field when they save the model again, and the way back needs it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import Origin, Stated
from dinoport.networks.interpolation import INTERPOLATIONS
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import DTYPES, Request, option_of


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


def classifier_in(record: Mapping[str, object]) -> str | None:
    """What the original calls its classifier, by our own field."""
    found = record.get("classifier")
    return found if isinstance(found, str) and found in ("head", "fc", "linear", "linear_head") else None


KEPT = {
    "heads": "num_heads",
    "decoder heads": "decoder_heads",
    "eps": "layer_norm_eps",
    "interpolation": "interpolation",
}
"""Settings that no tensor of an original's file shows, by the field of a request that gives them."""

TRUSTED = frozenset({"stored", "given", "claimed"})
"""Origins of a setting that a report passes on; what it assumes is assumed again."""


def model_in(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the dinoport.json beside a file of ours says of its model."""
    model = report.get("model")
    return model if isinstance(model, dict) else {}


def stated_by_report(report: Mapping[str, Any], claim: str) -> dict[str, Stated]:
    """What the dinoport.json beside a file of ours says of a model: settings, by the field of a request."""
    settings = model_in(report).get("settings")
    stated: dict[str, Stated] = {}
    for each in settings if isinstance(settings, list) else ():
        name = KEPT.get(str(each.get("name"))) if isinstance(each, dict) else None
        if name and each.get("origin") in TRUSTED:
            value = _value(name, each.get("value"))
            stated |= {name: Stated(value, claim, Origin.CLAIMED)} if value is not None else {}
    return stated


def family_by_report(report: Mapping[str, Any]) -> str | None:
    """The family that the dinoport.json beside a file of ours tells; None where the conversion assumed it."""
    family, settings = model_in(report).get("family"), model_in(report).get("settings")
    origins = [
        each.get("origin")
        for each in (settings if isinstance(settings, list) else ())
        if isinstance(each, dict) and each.get("name") == "codebase"
    ]
    return family if isinstance(family, str) and TRUSTED.issuperset(map(str, origins)) else None


def _value(name: str, text: object) -> float | str | None:
    """A whole number of heads, an epsilon, or the name of how a table is resampled; None for anything else."""
    if name == "interpolation":
        return next((known for known, each in INTERPOLATIONS.items() if str(each) == text), None)
    if not isinstance(text, str) or len(text) > 24 or not text.isascii():
        return None
    if name.endswith("heads"):
        return int(text) if text.isdigit() and 0 < int(text) <= 1024 else None
    try:
        return float(text) if 0 < float(text) < 1 else None
    except ValueError:
        return None


def lost_by_report(report: Mapping[str, Any]) -> dict[str, object]:
    """What the dinoport.json beside a file of ours says that the model has lost, as config.json has it."""
    before = model_in(report).get("lost")
    lost = [name for name in before if name in LOSSES] if isinstance(before, list) else []
    return {"lost": lost} if lost else {}


MAX_SIDE = 10_000
"""Pixels; a config or a report is not trusted with more."""


def transform_fields(transform: Preprocessing) -> dict[str, object]:
    """A transform as a report has it."""
    statistics = {"mean": list(transform.mean), "std": list(transform.std)}
    return {"resize": transform.resize, "crop": transform.crop, "filter": transform.resample, **statistics}


def transform_by_report(report: Mapping[str, Any], claim: str) -> Preprocessing | None:
    """The transform that the dinoport.json beside a file of ours says; None where it says none, or what cannot be."""
    told: Any = model_in(report).get("transform")
    if not isinstance(told, dict) or told.get("filter") not in ("bicubic", "bilinear"):
        return None
    values: list[Any] = [told.get(name) for name in ("resize", "crop", "mean", "std")]
    resize, crop, mean, std = values
    if not _is_side(resize) or not (crop is None or (_is_side(crop) and crop <= resize)):
        return None
    if not all(_are_statistics(each) for each in (mean, std)) or min(std) <= 0 or len(mean) != len(std):
        return None
    stored = dict.fromkeys(("resize", "crop", "resample", "mean", "std"), claim)
    return Preprocessing(resize, crop, told["filter"], mean=tuple(mean), std=tuple(std), reason=claim, stored=stored)


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value < MAX_SIDE


def _are_statistics(values: Any) -> bool:
    return isinstance(values, list) and 0 < len(values) <= 64 and all(type(each) is float for each in values)


FLATTENED = "blocks return as blocks.{i}; in the original they were grouped, as blocks.{chunk}.{i} (block_chunks)"

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


def unlike_original(
    architecture: object, record: Mapping[str, object], asked: Mapping[str, object], stripped: object
) -> Iterator[str]:
    """What differs from the original, as far as the folder shows it: in words of ours, not in its own."""
    if isinstance(stripped, list) and any(str(note).startswith("block chunks flattened") for note in stripped):
        yield FLATTENED
    if type(baked_from := record.get("baked_from")) is int:
        size = getattr(architecture, "image_size", None)
        yield (
            f"pos_embed returns as the folder has it, resampled for {size} pixels; the original's own table, for "
            f"{baked_from}, is not in the folder"
        )
    if asked.get("dtype") in DTYPES:
        option = option_of("dtype")
        yield f"the folder was made with {option} {asked['dtype']}: weights return so, whatever the original stored"
    if getattr(architecture, "rope_rounded", False):
        yield (
            "rope_embed.periods returns in float32, with the values that bfloat16 rounds: "
            "in which dtype the original stored them the folder does not say"
        )


def made_with(checkpoint: Checkpoint, request: Request) -> tuple[Mapping[str, object], object]:
    """What a folder's report says that it was made with, and what the names of its source wore.

    A start for training has the names of every grouping.
    """
    report = checkpoint.report or {}
    asked, source = (found if isinstance(found := report.get(name), Mapping) else {} for name in ("request", "source"))
    return asked, None if request.to == "training" else source.get("stripped")
