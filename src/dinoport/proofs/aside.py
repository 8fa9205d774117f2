"""What a proof does on the side: imports, and half of torch's threads for a second pass."""

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Lock

from dinoport.progress import Together, aside


@contextmanager
def half_of_the_threads() -> Iterator[None]:
    """Leave half of torch's threads to what goes on beside.

    The matrices of one picture are too small for many threads to share.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads // 2, 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _without_garbage() -> Callable[[], None]:
    """Python looks for garbage again and again while modules are made, and finds none: a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()

    def look_again() -> None:
        if was_enabled:
            if not gc.get_freeze_count():  # together they only call all of it old, and the next look is short
                gc.freeze()
                gc.unfreeze()
            gc.enable()

    return look_again


_without_garbage_collection = Together(_without_garbage)

_one_by_one = Lock()
"""While one thread imports Transformers, another finds the module without its classes."""


def importing(classes: Sequence[str]) -> Future[None]:
    """Import torch, and these classes of Transformers: seconds in which a file can be written.

    What cannot be imported is told by the import that needs it. The main thread, which hears of a request to stop,
    waits here, and never in the middle of an import.
    """
    return aside(lambda: _import(classes))


def _import(classes: Sequence[str]) -> None:
    with suppress(Exception), _without_garbage_collection:
        import torch  # noqa: F401  # only whether it is there

        if classes:
            with _one_by_one:
                import transformers

                for name in classes:
                    getattr(transformers, name)
