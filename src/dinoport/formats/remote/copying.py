"""A folder of Transformers from an address, on disk for as long as something needs it there: Transformers does."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.remote.caches import own_cache
from dinoport.formats.checkpoint import Checkpoint
from dinoport.tensor import BLOCK_BYTES


@contextmanager
def on_disk(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield a folder with the checkpoint's files, which is gone afterwards. Raises CheckpointError for a full disk.

    It has what Transformers loads a model from: config.json, the weights, and their index.
    """
    with ExitStack() as files:
        try:
            own_cache().mkdir(parents=True, exist_ok=True)
            folder = Path(files.enter_context(tempfile.TemporaryDirectory(dir=own_cache(), prefix="folder-")))
            free = shutil.disk_usage(own_cache()).free
            if checkpoint.size_bytes > free:
                raise OSError(f"{checkpoint.size_bytes} bytes are needed, {free} are free")
            for name, file in checkpoint.files.items():
                _write(folder / name, file)
        except OSError as error:
            raise CheckpointError(
                f"{own_cache()} cannot hold a copy of {checkpoint.where}: {error.strerror or error}",
                cause="Transformers, which the proof of the outputs runs, loads from disk alone",
                next_step="set DINOPORT_CACHE to a folder on a larger disk, or convert with `level='exact'`",
            ) from error
        yield folder


def _write(path: Path, content: bytes | ByteSource) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with path.open("xb") as file:
        for start in range(0, content.size_bytes, BLOCK_BYTES):
            part = buffer[: min(BLOCK_BYTES, content.size_bytes - start)]
            content.readinto(start, part)
            file.write(part)
