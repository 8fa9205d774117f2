"""What is seen of a class while it runs: what comes out of its blocks, and what goes into some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any


def of_this_thread(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook that sees the passes of this thread alone: two may go through one model in turn."""
    own = get_ident()

    def guarded(*arguments: Any) -> None:
        if get_ident() == own:
            hook(*arguments)

    return guarded


@contextmanager
def observed(blocks: Mapping[str, Any], entries: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping that a forward pass fills: what comes out of all `blocks`, and what goes into the `entries`.

    It stays empty for a model whose blocks are not found.
    """
    seen: dict[str, Any] = {}

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
