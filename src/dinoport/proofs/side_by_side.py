"""Two forward passes at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

First = TypeVar("First")
Second = TypeVar("Second")


def side_by_side(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """Run both without gradients, each on half of torch's threads.

    The matrices of one picture are too small for many threads to share: on two cores a ViT-B/16 takes a fifth less.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads // 2, 1))
    try:
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(torch.inference_mode()(second))
            return torch.inference_mode()(first)(), other.result()
    finally:
        torch.set_num_threads(threads)
