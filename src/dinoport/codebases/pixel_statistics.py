"""Means and standard deviations of pixels, read from what a file says of them."""

from collections.abc import Mapping

from dinoport.model import Stated


def statistics_said(found: object, where: str) -> dict[str, Stated]:
    """Means and standard deviations of three channels, both or none; from 0 to 255, or from 0 to 1."""
    mean, std = (_three_numbers(found.get(name) if isinstance(found, Mapping) else None) for name in ("mean", "std"))
    if mean is None or std is None:
        return {}
    if max(mean) > 1 or max(std) > 1:
        mean, std = (tuple(value / 255 for value in each) for each in (mean, std))
    if not all(0.0001 <= value <= 1 for value in std):
        return {}
    return {"image_mean": Stated(mean, where), "image_std": Stated(std, where)}


def _three_numbers(value: object) -> tuple[float, ...] | None:
    """Three numbers from 0 to 255; None for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    fits = all(type(each) in (int, float) and 0 <= each <= 255 for each in value)
    return tuple(float(each) for each in value) if fits else None
