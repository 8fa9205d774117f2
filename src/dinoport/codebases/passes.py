"""Passes through a class of some library: what is seen of it while it runs, in float32 and in float64.

Both precisions go in one sweep over its weights, without a copy of them in float64. What a folder holds in a smaller
dtype takes half of the memory or less, and most of it is only mapped. Both passes go through the model block by
block, in turn, so that a block's weights are read from disk once; for float64 they are widened while the block runs. A
7B model in float64 would take 54 GB. Every number of a smaller dtype is one of float64; what the class computes itself,
DINOv3's frequencies, stays in the dtype that the class gives it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Condition, get_ident
from typing import Any

from dinoport.codebases.running import Pass
from dinoport.networks.observing import EMBEDDING
from dinoport.tensor import Array

NARROW, WIDE = 0, 1


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

        images = torch.from_numpy(pixels)
        if next(self.model.parameters()).dtype != torch.float32:  # wider weights are another model in float32
            return self.once(copy.deepcopy(self.model).float(), images.float()), self.run(images.double())
        with self._turns() as turns, ThreadPoolExecutor(1, thread_name_prefix="dinoport-float32") as pool:
            other = pool.submit(turns.play, NARROW, images.float())
            wide = turns.play(WIDE, images.double())
            return other.result(), wide

    def run(self, images: Any) -> Pass:
        """In float64, whatever dtype holds the weights."""
        with self._turns(alone=True) as turns:
            return turns.play(WIDE, images)

    @contextmanager
    def _turns(self, *, alone: bool = False) -> Iterator[_Turns]:
        blocks = [*self.blocks(self.model).values()]
        turns = _Turns(lambda images: self.once(self.model, images), _Outside(self.model, blocks), alone=alone)
        with ExitStack() as hooks:
            for block in blocks:
                turns.take_at(block, hooks)
            yield turns


class _Outside:
    """The weights of a model outside its blocks, which are few: kept in both precisions."""

    def __init__(self, model: Any, blocks: Sequence[Any]) -> None:
        inside = {id(tensor) for block in blocks for tensor in _held(block)}
        self._own = [(tensor, tensor.data) for tensor in _held(model) if id(tensor) not in inside]
        self._wide = [(tensor, data.double()) for tensor, data in self._own]

    def widen(self) -> None:
        for tensor, data in self._wide:
            tensor.data = data

    def restore(self) -> None:
        for tensor, data in self._own:
            tensor.data = data


class _Turns:
    """Two passes through one model that take turns, block by block: only the one whose turn it is touches weights.

    A pass in float64 that is `alone` has every turn.
    """

    def __init__(self, run: Callable[[Any], Pass], outside: _Outside, *, alone: bool) -> None:
        self._run = run
        self._outside = outside
        self._condition = Condition()
        self._turn = NARROW
        self._ended = [alone, False]
        self._stopped = False
        self._player: dict[int, int] = {}

    def play(self, side: int, images: Any) -> Pass:
        self._player[get_ident()] = side
        self._wait(side)
        try:
            return self._run(images)
        except BaseException as error:
            self._stopped = not isinstance(error, Exception)  # a request to stop is one for both
            raise
        finally:
            self._outside.restore()
            self._ended[side] = True
            self._pass_on(side)

    def take_at(self, block: Any, hooks: ExitStack) -> None:
        stored: list[tuple[Any, Any]] = []

        def before(*_: Any) -> None:
            import torch

            if self._player[get_ident()] == WIDE:
                stored[:] = [(tensor, tensor.data) for tensor in _held(block)]
                with torch.inference_mode(False):
                    for tensor, data in stored:
                        tensor.data = data.double()

        def restore() -> None:
            for tensor, data in stored:
                tensor.data = data
            stored.clear()

        def after(*_: Any) -> None:
            side = self._player[get_ident()]
            restore()
            self._outside.restore()
            self._pass_on(side)
            self._wait(side)

        hooks.callback(restore)  # after a pass that failed within the block
        hooks.callback(block.register_forward_pre_hook(before).remove)
        hooks.callback(block.register_forward_hook(after).remove)

    def _wait(self, side: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._turn == side or self._ended[1 - side])
            if self._stopped:
                raise RuntimeError("the other pass was stopped")
            self._turn = side
        if side == WIDE:
            self._outside.widen()

    def _pass_on(self, side: int) -> None:
        with self._condition:
            self._turn = 1 - side
            self._condition.notify_all()


def _held(module: Any) -> list[Any]:
    """What a folder holds of a module, as far as it is floating-point."""
    return [tensor for tensor in module.state_dict(keep_vars=True).values() if tensor.is_floating_point()]


def by_stage(template: str, stages: Iterable[Iterable[Any]], first: int = 0) -> dict[str, Any]:
    """The blocks of a convolutional network by the names that a template gives for stage and block."""
    return {template.format(s, b): block for s, stage in enumerate(stages, first) for b, block in enumerate(stage)}


def of_this_thread(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook that sees the passes of this thread alone: two may go through one model in turn."""
    own = get_ident()

    def guarded(*arguments: Any) -> None:
        if get_ident() == own:
            hook(*arguments)

    return guarded


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

        return of_this_thread(keep)

    def entering(name: str) -> Callable[..., None]:
        def keep(module: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
            seen[name] = inputs[0] if inputs else next(iter(keywords.values()))

        return of_this_thread(keep)

    with ExitStack() as hooks:
        for name, block in blocks.items():
            hooks.callback(block.register_forward_hook(leaving(name)).remove)
        for name, block in entries.items():
            hooks.callback(block.register_forward_pre_hook(entering(name), with_kwargs=True).remove)
        yield seen
