"""A class in float64 without a copy of its weights in float64: each block is widened while it runs.

What a folder holds in a smaller dtype takes half of the memory or less, and most of it is only mapped. A float64 copy
of the whole takes the system longer to provide than the blocks take to widen, and a 7B model's would be 54 GB.
"""

from __future__ import annotations

from typing import Any

from dinoport.proofs.blocks import blocks_of


def widen(model: Any) -> None:
    """Let a class compute in float64 from now on, with the very weights that it holds.

    Every number of a smaller dtype is one of float64. What the class computes itself, DINOv3's frequencies, stays in
    the dtype that the class gives it.
    """
    blocks = list(blocks_of(model).values())
    inside = {id(tensor) for block in blocks for tensor in _held(block)}
    for tensor in _held(model):
        if id(tensor) not in inside:
            tensor.data = tensor.data.double()
    for block in blocks:
        _widen_while_it_runs(block)


def _widen_while_it_runs(block: Any) -> None:
    import torch

    held = [(tensor, tensor.data) for tensor in _held(block)]

    def before(*_: Any) -> None:
        with torch.inference_mode(False):
            for tensor, stored in held:
                tensor.data = stored.double()

    def after(*_: Any) -> None:
        for tensor, stored in held:
            tensor.data = stored

    block.register_forward_pre_hook(before)
    block.register_forward_hook(after)


def _held(module: Any) -> list[Any]:
    """What a folder holds of a module, as far as it is floating-point."""
    return [tensor for tensor in module.state_dict(keep_vars=True).values() if tensor.is_floating_point()]
