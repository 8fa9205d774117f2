"""Open whatever is at a path, told by its content and never by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dinoport.checkpoints.byte_sources import ByteSource, LocalFile
from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.checkpoints.distributed import (
    is_distributed_folder,
    read_distributed,
    refuse_lone_file,
    refuse_other_layouts,
)
from dinoport.checkpoints.huggingface import is_transformers_folder, read_transformers_folder
from dinoport.checkpoints.run_config import find_run_config
from dinoport.checkpoints.run_folder import checkpoint_within
from dinoport.checkpoints.safetensors import looks_like_safetensors, read_safetensors
from dinoport.checkpoints.torch_legacy import read_torch_legacy
from dinoport.checkpoints.torch_zip import read_torch_zip
from dinoport.errors import CheckpointError

START_BYTES = 512

KNOWN_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to", "git lfs pull"),
    (b"\x1f\x8b", "gzip data", "gunzip it first"),
    (b"\xfd7zXZ", "xz data", "unxz it first"),
    (b"BZh", "bzip2 data", "bunzip2 it first"),
    (b"\x28\xb5\x2f\xfd", "zstandard data", "unzstd it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them", "give the PyTorch checkpoint"),
    (b"\x93NUMPY", "a NumPy array", "give the PyTorch checkpoint"),
    (b"GGUF", "a GGUF file", "give the PyTorch checkpoint"),
    (b"\x08\x07", "an ONNX graph", "give the PyTorch checkpoint"),
    (b"\x08\x08", "an ONNX graph", "give the PyTorch checkpoint"),
    (b"%PDF", "a PDF", "give the PyTorch checkpoint"),
)
"""What people give by mistake, by how it begins, with what to do."""


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder, or the only checkpoint in a run's folder, and index its tensors. The caller closes it.

    Raises CheckpointError, or UnsafeCheckpointError for a file that names code which no checkpoint needs.
    """
    if path.is_dir():
        return _open_folder(path)
    refuse_lone_file(path)
    source = LocalFile(path)
    try:
        format_name, tree = _read(source)
    except BaseException:
        source.close()
        raise
    return Checkpoint(str(path), format_name, tree, (source,), run=find_run_config(path))


def _read(source: ByteSource) -> tuple[str, object]:
    start = source.read(0, min(source.size_bytes, START_BYTES))
    if not start:
        raise _not_a_checkpoint(source.where, "an empty file", "fetch it again: the download did not begin")
    if start.startswith(b"PK\3\4"):
        return "torch zip file", read_torch_zip(source)
    if start.startswith(b"PK\5\6"):
        raise _not_a_checkpoint(source.where, "an empty zip file", "fetch it again")
    if looks_like_safetensors(start):
        return "safetensors file", read_safetensors(source)
    for magic, name, next_step in KNOWN_OTHERS:
        if start.startswith(magic):
            raise _not_a_checkpoint(source.where, name, next_step)
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        raise _not_a_checkpoint(
            source.where, "a web page: " + _excerpt(start), "open the address in a browser and log in"
        )
    if start[257:262] == b"ustar":
        raise _not_a_checkpoint(source.where, "a tar archive", "unpack it, and give the checkpoint inside")
    if start[:1] == b"\x80":
        return "torch file of the legacy format", read_torch_legacy(source)
    if source.where.endswith(".safetensors"):  # only to say what is wrong with it
        return "safetensors file", read_safetensors(source)
    return _read_text(source, start)


def _read_text(source: ByteSource, start: bytes) -> tuple[str, object]:
    """A protocol-0 pickle looks like text: it is looked at for the names in it before it is called text."""
    if start[:1] in (b"c", b"(", b"]", b"}", b"l", b"d", b"i", b"p") and b"\n" in start:
        try:
            return "torch file of the legacy format", read_torch_legacy(source)
        except CheckpointError as error:
            if type(error) is not CheckpointError:
                raise
    kind = "text: " + _excerpt(start) if _is_text(start) else "bytes of no known format"
    raise _not_a_checkpoint(source.where, kind, "give the .pth, .safetensors or folder that the weights are in")


def _open_folder(path: Path) -> Checkpoint:
    if is_transformers_folder(path):
        return read_transformers_folder(path)
    if is_distributed_folder(path):
        return replace(read_distributed(path), run=find_run_config(path))
    names = sorted(entry.name for entry in path.iterdir())
    refuse_other_layouts(path, names)
    if within := checkpoint_within(path):
        return open_checkpoint(within)
    raise CheckpointError(
        f"{path} is a folder, but not one that holds a checkpoint",
        expected="config.json with model.safetensors, or .metadata with .distcp files",
        found=", ".join(names[:6]) or "nothing",
        next_step="give the checkpoint file inside the folder",
    )


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > START_BYTES - 4 else "\0"
    return all(character.isprintable() or character.isspace() for character in text)


def _excerpt(start: bytes) -> str:
    return repr(" ".join(start[:80].decode("utf-8", "replace").split()))


def _not_a_checkpoint(where: str, found: str, next_step: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is not a checkpoint",
        expected="a torch file, a safetensors file, a distributed checkpoint, or a folder of Transformers",
        found=found,
        next_step=next_step,
    )
