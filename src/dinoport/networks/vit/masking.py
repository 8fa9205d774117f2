"""Which patches an MAE sees in a proof: the same ones on both sides, scattered over the picture.

Its own code draws them anew in each pass, and so does its class; both take an order from whoever tests them.
"""

import numpy as np

from dinoport.tensor import Array

STEP, PRIME = 7919, 65_537
"""Multiples of the one, modulo the other, are all different: an order that no table of positions has."""


def noise(patches: int) -> Array:
    """A different number for each patch: those with the smallest are seen. Whole numbers, which float32 holds."""
    return (np.arange(1, patches + 1) * STEP % PRIME).astype(np.float32)


def order(patches: int) -> list[int]:
    """The patches in the order of their numbers."""
    return [int(place) for place in noise(patches).argsort()]


def seen(patches: int, mask_ratio: float) -> list[int]:
    """The share of patches that is not hidden, in that order."""
    return order(patches)[: int(patches * (1 - mask_ratio))]
