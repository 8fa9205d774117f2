"""Torch and Transformers, imported in a thread of their own.

They take seconds, in which a file can be written, and a request to stop has to be heard: it reaches the main thread,
which must not be in the middle of an import then. Python itself sees to it that a module is imported once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from dinoport.progress import IMPORTING


def importing(classes: Sequence[str]) -> Thread:
    """Begin to import torch, and these classes of Transformers, unless that has been done. Whoever needs them joins it.

    What cannot be imported is told by the import that needs it.
    """
    thread = Thread(target=_import, args=(classes,), name=IMPORTING, daemon=True)
    thread.start()
    return thread


def _import(classes: Sequence[str]) -> None:
    with suppress(Exception):
        import torch  # noqa: F401

        if classes:
            import transformers

            for name in classes:
                getattr(transformers, name)
