"""Pinning a source: what a proof does not compare bit for bit is hashed, so that no bit of the files can change unseen.

The tensors of a conversion are compared with the folder, whose own hash is kept: hashing them again would cost time
and show nothing more. All else is hashed: names, other copies of the model, optimizer states, tensors that were cast.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.values import byte_ranges
from dinoport.tensor import TensorRef

MAX_OTHER_BYTES = 2 * 1024**3
"""Of one file: two seconds of hashing. The optimizer states of a 7B model are fifty times that; they stay unpinned."""

Range = tuple[int, int]


@dataclass(frozen=True)
class SourceFile:
    """One file of a source. `other_bytes` are those besides the compared tensors, `other_sha256` is their hash.

    `other_sha256` is None where they are too many to be hashed, or would have to be fetched for it.
    """

    name: str
    size_bytes: int
    other_bytes: int
    other_sha256: str | None


@contextmanager
def pinning(
    sources: Sequence[ByteSource], compared: Iterable[TensorRef]
) -> Iterator[Callable[[], tuple[SourceFile, ...]]]:
    """Hash in a second thread while the block runs; the function that is yielded waits for the result.

    `compared` are the tensors that a proof compares whole and bit for bit.
    """
    stopped = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="dinoport-pinning") as pool:
        done = pool.submit(_pin, sources, list(compared), stopped)
        try:
            yield done.result
        finally:
            stopped.set()


def _pin(sources: Sequence[ByteSource], compared: Sequence[TensorRef], stopped: Event) -> tuple[SourceFile, ...]:
    ranges: dict[int, list[Range]] = {}
    for tensor in compared:
        for source, start, stop in byte_ranges(tensor.values):
            ranges.setdefault(id(source), []).append((start, stop))
    files = []
    for source in sources:
        others = list(_gaps(sorted(ranges.get(id(source), ())), source.size_bytes))
        count = sum(stop - start for start, stop in others)
        hashed = count <= MAX_OTHER_BYTES and not source.is_remote
        digest = _hash(source, others, stopped) if hashed else None
        files.append(SourceFile(Path(source.where).name, source.size_bytes, count, digest))
    return tuple(files)


def _gaps(ranges: Iterable[Range], size_bytes: int) -> Iterator[Range]:
    """What sorted ranges, which may overlap, leave of a file."""
    done = 0
    for start, stop in ranges:
        if start > done:
            yield done, start
        done = max(done, stop)
    if done < size_bytes:
        yield done, size_bytes


def _hash(source: ByteSource, ranges: Iterable[Range], stopped: Event) -> str:
    from hashlib import sha256

    digest = sha256()
    for begin, stop in ranges:
        for block in source.blocks(begin, stop):
            if stopped.is_set():
                return ""
            digest.update(block)
    return digest.hexdigest()
