"""Passes through a class of some library: what is seen of it while it runs, in float32 and in float64.

There is no copy of its weights in float64: what a folder holds in a smaller dtype takes half of the memory or less, and
most of it is only mapped. A block's weights are widened while the block runs. A 7B model in float64 would take 54 GB.
Every number of a smaller dtype is one of float64; what the class computes itself, DINOv3's frequencies, stays in the
dtype that the class gives it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from dinoport.codebases.running import Pass
from dinoport.networks.observing import EMBEDDING
from dinoport.tensor import Array


class Swept(ABC):
    """A model that a class of some library has loaded, and its passes: the part of a runner that no library differs in.

    `model` is None until it is loaded.
    """

    model: Any = None

    @abstractmethod
    def blocks(self, model: Any) -> Mapping[str, Any]:
        """Its blocks, by their canonical names and in order."""

    @abstractmethod
    def outputs(self, model: Any, images: Any) -> Mapping[str, Any]:
        """What one forward pass gives, under the names that the networks use."""

    @abstractmethod
    def rotations(self, model: Any) -> AbstractContextManager[list[tuple[Any, Any]]]:
        """A list that a forward pass adds its rotary sines and cosines to; it stays empty without any."""

    def once(self, model: Any, images: Any) -> Pass:
        """One forward pass as it stands."""
        import torch

        blocks = self.blocks(model)
        with torch.inference_mode(), _observed(blocks) as seen, self.rotations(model) as rotations:
            outputs = self.outputs(model, images)
        return Pass(outputs, dict(seen), {"rotation": rotations[0]} if rotations else {})

    def run_both(self, pixels: Array) -> tuple[Pass, Pass]:
        """In float32, as people run it, and in float64."""
        import torch

        images, narrow = torch.from_numpy(pixels), self.model
        if next(narrow.parameters()).dtype != torch.float32:  # wider weights are another model in float32
            narrow = copy.deepcopy(narrow).float()
        return self.once(narrow, images.float()), self.run(images.double())

    def run(self, images: Any) -> Pass:
        """In float64, whatever dtype holds the weights."""
        blocks = [(block, _held(block)) for block in self.blocks(self.model).values()]
        inside = {id(tensor) for _, tensors in blocks for tensor in tensors}
        with ExitStack() as stack:
            outside = _Widening([tensor for tensor in _held(self.model) if id(tensor) not in inside])
            stack.callback(outside.restore)
            outside.widen()
            for block, tensors in blocks:
                own = _Widening(tensors)
                stack.callback(own.restore)  # after a pass that failed within the block
                stack.callback(block.register_forward_pre_hook(own.widen).remove)
                stack.callback(block.register_forward_hook(own.restore).remove)
            return self.once(self.model, images)


class _Widening:
    """Weights that are float64's for a while."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        self._stored = [(tensor, tensor.data) for tensor in tensors]

    def widen(self, *hooked: Any) -> None:
        import torch

        with torch.inference_mode(False):
            for tensor, data in self._stored:
                tensor.data = data.double()

    def restore(self, *hooked: Any) -> None:
        for tensor, data in self._stored:
            tensor.data = data


def _held(module: Any) -> list[Any]:
    """What a folder holds of a module, as far as it is floating-point."""
    return [tensor for tensor in module.state_dict(keep_vars=True).values() if tensor.is_floating_point()]


def by_stage(template: str, stages: Iterable[Iterable[Any]], first: int = 0) -> dict[str, Any]:
    """The blocks of a convolutional network by the names that a template gives for stage and block."""
    return {template.format(s, b): block for s, stage in enumerate(stages, first) for b, block in enumerate(stage)}


@contextmanager
def _observed(blocks: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping that a forward pass fills: what comes out of all blocks, and what goes into those before which
    something stands: the first, and those behind a layer that makes the map of a ConvNeXt smaller.

    It stays empty for a model whose blocks are not found.
    """
    seen: dict[str, Any] = {}
    entries = {EMBEDDING: next(iter(blocks.values()))} if blocks else {}
    for name, block in blocks.items():
        if name.startswith("stages.") and name.endswith(".0") and name != "stages.0.0":
            entries[f"downsample_layers.{name.split('.')[1]}"] = block

    def leaving(name: str) -> Callable[..., None]:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output

        return keep

    def entering(name: str) -> Callable[..., None]:
        def keep(module: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
            seen[name] = inputs[0] if inputs else next(iter(keywords.values()))

        return keep

    with ExitStack() as hooks:
        for name, block in blocks.items():
            hooks.callback(block.register_forward_hook(leaving(name)).remove)
        for name, block in entries.items():
            hooks.callback(block.register_forward_pre_hook(entering(name), with_kwargs=True).remove)
        yield seen
