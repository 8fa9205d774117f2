"""A class in float32 and in float64 in one sweep over its weights, without a copy of them in float64.

What a folder holds in a smaller dtype takes half of the memory or less, and most of it is only mapped. Both passes go
through the model block by block, in turn, so that a block's weights are read from disk once; for float64 they are
widened while the block runs. A 7B model in float64 would take 54 GB.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Condition, get_ident
from typing import Any

from dinoport.codebases.running import Pass
from dinoport.tensor import Array

NARROW, WIDE = 0, 1


@contextmanager
def widened(model: Any, blocks: Sequence[Any]) -> Iterator[None]:
    """Let a class compute in float64, with the very weights that it holds.

    Every number of a smaller dtype is one of float64. What the class computes itself, DINOv3's frequencies, stays in
    the dtype that the class gives it.
    """
    outside = _Outside(model, blocks)
    with ExitStack() as hooks:
        outside.widen()
        hooks.callback(outside.restore)
        for block in blocks:
            _widen_while_it_runs(block, hooks)
        yield


class Swept(ABC):
    """A model that a class of some library has loaded, and its passes: the part of a runner that no library differs in.

    `model` is None until it is loaded.
    """

    model: Any = None

    @abstractmethod
    def blocks(self, model: Any) -> Mapping[str, Any]:
        """Its blocks, by their canonical names and in order."""

    @abstractmethod
    def once(self, model: Any, images: Any) -> Pass:
        """One forward pass as it stands."""

    def run_both(self, pixels: Array) -> tuple[Pass, Pass]:
        """In float32, as people run it, and in float64."""
        import torch

        images = torch.from_numpy(pixels)
        if next(self.model.parameters()).dtype != torch.float32:  # wider weights are another model in float32
            return self.once(copy.deepcopy(self.model).float(), images.float()), self.run(images.double())
        return both_precisions(
            self.model, [*self.blocks(self.model).values()], lambda given: self.once(self.model, given), images
        )

    def run(self, images: Any) -> Pass:
        """In float64, whatever dtype holds the weights."""
        with widened(self.model, [*self.blocks(self.model).values()]):
            return self.once(self.model, images)


def both_precisions(model: Any, blocks: Sequence[Any], run: Callable[[Any], Pass], images: Any) -> tuple[Pass, Pass]:
    """The passes of `run` on `images` in float32 and in float64, a block of one after the same block of the other.

    The model's weights are float32.
    """
    turns = _Turns(_Outside(model, blocks))
    with ExitStack() as hooks, ThreadPoolExecutor(1, thread_name_prefix="dinoport-float32") as pool:
        for block in blocks:
            turns.take_at(block, hooks)
        other = pool.submit(turns.play, NARROW, run, images.float())
        wide = turns.play(WIDE, run, images.double())
        return other.result(), wide


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
    """Two passes through one model that take turns, block by block: only the one whose turn it is touches weights."""

    def __init__(self, outside: _Outside) -> None:
        self._outside = outside
        self._condition = Condition()
        self._turn = NARROW
        self._ended = [False, False]
        self._stopped = False
        self._player: dict[int, int] = {}

    def play(self, side: int, run: Callable[[Any], Pass], images: Any) -> Pass:
        self._player[get_ident()] = side
        self._wait(side)
        try:
            return run(images)
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
            if self._player[get_ident()] == WIDE:
                stored[:] = [(tensor, tensor.data) for tensor in _held(block)]
                _widen(stored)

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


def _widen_while_it_runs(block: Any, hooks: ExitStack) -> None:
    held = [(tensor, tensor.data) for tensor in _held(block)]

    def before(*_: Any) -> None:
        _widen(held)

    def after(*_: Any) -> None:
        for tensor, stored in held:
            tensor.data = stored

    hooks.callback(after)
    hooks.callback(block.register_forward_pre_hook(before).remove)
    hooks.callback(block.register_forward_hook(after).remove)


def _widen(held: Sequence[tuple[Any, Any]]) -> None:
    import torch

    with torch.inference_mode(False):
        for tensor, stored in held:
            tensor.data = stored.double()


def _held(module: Any) -> list[Any]:
    """What a folder holds of a module, as far as it is floating-point."""
    return [tensor for tensor in module.state_dict(keep_vars=True).values() if tensor.is_floating_point()]
