"""Distributed checkpoints: a folder with `.metadata`, and `__<rank>_<n>.distcp` files of tensors' parts.

`torch.distributed.checkpoint` writes them, so DINOv3's training does: `ckpt/<iteration>`, and
`eval/<iteration>/sharded_teacher_checkpoint`. Each part is a small file of torch.save within a file. Only `.metadata`
is read to index the folder; a part is opened when its values are first wanted. No process group, no copy.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteRange, ByteSource
from dinoport.files.damage import too_short
from dinoport.files.folders import Folder
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.metadata import MAX_BYTES, Piece, SplitTensor, parse_metadata
from dinoport.formats.distributed.signs import COPY_AGAIN, METADATA
from dinoport.formats.distributed.split_values import BoxedValues, SplitValues
from dinoport.formats.storage import Storage, storages_of
from dinoport.formats.torch.zip_file import read_torch_zip
from dinoport.formats.values import byte_ranges
from dinoport.shown.text import as_word, counted, listed, value_text
from dinoport.tensor import Array, TensorRef, Values, dtype_name, shape_text

ZIP_MAGIC = b"PK\3\4"

ZIP_OVERHEAD_BYTES = 400
"""What torch.save adds at least: the headers of three records, a pickle, and a directory."""


def read_distributed(folder: Folder) -> Checkpoint:
    """Open a distributed checkpoint. Its tree is flat: `model.teacher.backbone.cls_token` and so on.

    Raises CheckpointError where `.metadata` contradicts itself or the files beside it.
    """
    metadata = folder.open(METADATA)
    if metadata.size_bytes > MAX_BYTES:
        raise CheckpointError(
            f"{metadata.where} is too large to be genuine",
            expected=f"at most {MAX_BYTES} bytes",
            found=f"{metadata.size_bytes} bytes",
            next_step=f"ls -l {as_word(folder.where)}",
        )
    try:
        tensors, others = parse_metadata(metadata.read(0, metadata.size_bytes), metadata.where)
    finally:
        metadata.close()
    files = _files(folder, tensors)
    tree = {**others, **{tensor.name: _reference(tensor, files) for tensor in tensors}}
    return Checkpoint(folder.where, "distributed checkpoint", tree, (metadata, *files.values()))


@dataclass(frozen=True)
class SavedPart:
    """The values of one part of `name`, which torch.save wrote on its own. Opened when they are first wanted."""

    name: str
    dtype: np.dtype[Any]
    file: ByteSource
    piece: Piece

    @cached_property
    def tensor(self) -> TensorRef:
        """The tensor in the part. Raises CheckpointError where it is not the one that `.metadata` describes."""
        shape = self.piece.box.sizes
        where = f"{self.file.where} ({self.name}, {self.piece.box})"
        source = ByteRange(self.file, where, self.piece.start, self.piece.length)
        start = source.read(0, len(ZIP_MAGIC))
        if start != ZIP_MAGIC:
            raise _not_as_described(where, f"bytes that begin with {value_text(start)}", "a part that torch.save wrote")
        tensor = read_torch_zip(source)
        expected = f"a tensor of dtype {dtype_name(self.dtype)} and shape {shape_text(shape)}"
        if not isinstance(tensor, TensorRef):
            raise _not_as_described(where, "no tensor", expected)
        if tensor.dtype != self.dtype or tensor.shape != shape:
            found = f"a tensor of dtype {dtype_name(tensor.dtype)} and shape {shape_text(tensor.shape)}"
            raise _not_as_described(where, found, expected)
        return tensor

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        return self.tensor.values.blocks(start, stop, limit)

    def byte_ranges(self) -> Iterator[tuple[ByteSource, int, int]]:
        return byte_ranges(self.tensor.values)

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        yield self.file, self.piece.start, self.piece.start + self.piece.length

    def storages(self) -> Iterable[Storage]:
        return storages_of(self.tensor.values)


def _not_as_described(where: str, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is not what {METADATA} says",
        expected=expected,
        found=found,
        cause="files of two checkpoints in one folder, or a damaged file",
        next_step=COPY_AGAIN,
    )


def _reference(tensor: SplitTensor, files: dict[str, ByteSource]) -> TensorRef:
    parts = [BoxedValues(piece.box, _saved_part(tensor, piece, files[piece.file])) for piece in tensor.pieces]
    values: Values = SplitValues(tensor.dtype, tensor.shape, parts)
    if len(parts) == 1:
        values = parts[0].values
    return TensorRef(tensor.name, tensor.dtype, tensor.shape, values)


def _saved_part(tensor: SplitTensor, piece: Piece, file: ByteSource) -> SavedPart:
    if piece.start + piece.length > file.size_bytes:
        raise too_short(
            file.where,
            f"{piece.length} bytes at offset {piece.start}, as {METADATA} says",
            f"a file of {file.size_bytes} bytes",
            where=tensor.name,
            cause="a copy that broke off, or a file of another checkpoint",
            next_step=COPY_AGAIN,
        )
    size_bytes = piece.box.size * tensor.dtype.itemsize
    if piece.length < size_bytes + ZIP_OVERHEAD_BYTES:
        raise CheckpointError(
            f"{file.where} cannot hold what {METADATA} says",
            where=f"{tensor.name}, {piece.box}",
            expected=f"{size_bytes} bytes of values, and what torch.save adds",
            found=f"{piece.length} bytes",
            cause="another serialization format than torch.save, or a file that was made to mislead",
            next_step="save the checkpoint with SerializationFormat.TORCH_SAVE, torch's default",
        )
    return SavedPart(tensor.name, tensor.dtype, file, piece)


def _files(folder: Folder, tensors: list[SplitTensor]) -> dict[str, ByteSource]:
    names = list(dict.fromkeys(piece.file for tensor in tensors for piece in tensor.pieces))
    missing = folder.missing(names)
    if missing:
        raise CheckpointError(
            f"{folder.where} is incomplete: {listed(missing, 4)} {'is' if len(missing) == 1 else 'are'} missing",
            expected=f"the {counted(len(names), 'file')} that {METADATA} names",
            found=f"{len(names) - len(missing)} of them",
            cause="a copy that broke off, or ranks that wrote to disks of their own",
            next_step="copy the files of all ranks into one folder",
        )
    return {name: folder.open(name) for name in names}
