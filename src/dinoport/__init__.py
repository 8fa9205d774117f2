"""Convert any checkpoint of the DINO family into a Hugging Face Transformers folder, proven equal to the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinoport.api import convert, fleet, inspect, load, plan, publish, verify, visualize
    from dinoport.cli.console import progress_bars
    from dinoport.request import Checks, Request

__version__ = "0.2.0"

__all__ = [
    "Checks",
    "Request",
    "__version__",
    "convert",
    "fleet",
    "inspect",
    "load",
    "plan",
    "progress_bars",
    "publish",
    "verify",
    "visualize",
]


def __getattr__(name: str) -> object:
    """Import the API when it is first asked for: `dinoport --help` does not wait for NumPy."""
    if name in ("Checks", "Request"):
        from dinoport import request

        return getattr(request, name)
    if name == "errors":
        import dinoport.errors

        return dinoport.errors
    if name == "progress_bars":
        from dinoport.cli.console import progress_bars

        return progress_bars
    if name in __all__:
        from dinoport import api

        return getattr(api, name)
    raise AttributeError(f"module 'dinoport' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
