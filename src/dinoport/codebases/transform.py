"""How a picture becomes an input, as settings: no tensor shows it, and every value moves what the model is given."""

from collections.abc import Iterator

from dinoport.model import Origin, Setting, Wishes
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import Request


def transform_settings(
    transform: Preprocessing | None, channels: int, request: Request, claimed: frozenset[str]
) -> Iterator[Setting[object]]:
    """Statistics, resize, crop and filter of what is written, each with its origin.

    Where a model takes other than three channels, only the values that the user gave are known. `claimed` are the
    fields of the request that only a folder says.
    """
    wishes = Wishes(claimed=claimed)
    known = transform if channels == 3 else None
    for name, field in (("pixel mean", "image_mean"), ("pixel std", "image_std")):
        given: tuple[float, ...] | None = getattr(request, field)
        if given is not None:
            yield Setting(name, _text(given), *wishes.said(field))
        elif known is not None:
            own = field.removeprefix("image_")
            yield Setting(name, _text(known.mean if own == "mean" else known.std), *_said(known, own))
    if known is not None:
        square = f"{known.resize}×{known.resize}"
        yield Setting(
            "resize", square if known.crop is None else f"shorter side to {known.resize}", *_said(known, "resize")
        )
        yield Setting("crop", f"centre {known.crop}×{known.crop}" if known.crop else "none", *_said(known, "crop"))
        yield Setting("filter", f"{known.resample}, antialiased", *_said(known, "resample"))


def _said(transform: Preprocessing, field: str) -> tuple[Origin, str]:
    """Where a field of a transform comes from."""
    who = transform.stored.get(field)
    return (Origin.ASSUMED, transform.reason) if who is None else (Origin.STORED, who)


def _text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
