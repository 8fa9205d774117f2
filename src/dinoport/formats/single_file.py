"""One checkpoint file, told by its content and never by its name."""

import re

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import damaged
from dinoport.formats.archives import packed_as
from dinoport.formats.safetensors.reader import looks_like_safetensors, read_safetensors
from dinoport.formats.torch.legacy import begins_torch_legacy, read_torch_legacy
from dinoport.formats.torch.zip_file import read_torch_zip
from dinoport.shown.calls import Blank, call
from dinoport.shown.packages import saved_again
from dinoport.shown.text import as_word

START_BYTES = 512

GIVE_THE_CHECKPOINT = "give the PyTorch checkpoint"
PROVE_THE_GRAPH = (
    f"give the PyTorch checkpoint; to prove the graph, {call('verify', Blank('CHECKPOINT'), Blank('GRAPH'))}"
)

KNOWN_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to", "git lfs pull"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them", GIVE_THE_CHECKPOINT),
    (b"\x93NUMPY", "a NumPy array", GIVE_THE_CHECKPOINT),
    (b"GGUF", "a GGUF file", GIVE_THE_CHECKPOINT),
    *((bytes((8, version)), "an ONNX graph", PROVE_THE_GRAPH) for version in range(3, 14)),
    (b"%PDF", "a PDF", GIVE_THE_CHECKPOINT),
    (b"\x89PNG", "a PNG picture", GIVE_THE_CHECKPOINT),
    (b"\xff\xd8\xff", "a JPEG picture", GIVE_THE_CHECKPOINT),
)
"""What people give by mistake, by how it begins, with what to do."""

MSGPACK = re.compile(rb"([\x81-\x8f]|\xde..|\xdf....)[\xa1-\xbf\xd9]", re.DOTALL)
"""A map whose first key is text."""

WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")


def read_file(source: ByteSource) -> tuple[str, object]:
    """The name of a file's format, and what it holds as plain data with TensorRefs.

    Raises CheckpointError, or UnsafeCheckpointError for a file that names code which no checkpoint needs.
    """
    start = source.read(0, min(source.size_bytes, START_BYTES))
    if not start:
        raise _not_a_checkpoint(source.where, "an empty file", "fetch it again", "a download that did not begin")
    if looks_like_safetensors(start) and (start.startswith(b"PK\3\4") or begins_torch_legacy(source)):
        what = f"{source.where} can be read in two ways, as files of two formats"
        found = "a safetensors file and a torch file"
        raise damaged(what, found, "a file of one format", cause="a file that was made to mislead")
    if start.startswith(b"PK\3\4"):
        name_bytes = int.from_bytes(start[26:28], "little")
        if start[30 : 30 + name_bytes].endswith(b".npy"):  # what its first member is called
            from dinoport.formats.npz import read_npz

            return "NumPy .npz file", read_npz(source)
        return "torch zip file", read_torch_zip(source)
    if start.startswith(b"PK\5\6"):
        raise _not_a_checkpoint(source.where, "an empty zip file", "fetch it again")
    if looks_like_safetensors(start):
        return "safetensors file", read_safetensors(source)
    for magic, name, next_step in KNOWN_OTHERS:
        if start.startswith(magic):
            raise _not_a_checkpoint(source.where, name, next_step)
    if start.lstrip().lower().startswith(WEB_PAGES):
        cause = "a download that was refused, or an address of a page about the file"
        next_step = "open the address in a browser, log in or ask for access, and download again"
        raise _not_a_checkpoint(source.where, "a web page: " + _excerpt(start), next_step, cause)
    if MSGPACK.match(start):
        raise _not_a_checkpoint(source.where, "a file of msgpack, as Flax writes them", saved_again("from_flax"))
    if packed := packed_as(source, start):
        raise _not_a_checkpoint(source.where, *packed)
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
        except UnsafeCheckpointError:
            raise
        except CheckpointError:
            pass
    kind = "text: " + _excerpt(start) if _is_text(start) else "bytes of no known format"
    folder, _, name = source.where.rpartition("/")
    if name.endswith(".json"):
        raise _not_a_checkpoint(source.where, kind, f"give the folder that it lies in: {as_word(folder or '.')}")
    raise _not_a_checkpoint(source.where, kind, "give the .pth, .safetensors or folder that the weights are in")


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > START_BYTES - 4 else "\0"
    return all(character.isprintable() or character.isspace() for character in text)


def _excerpt(start: bytes) -> str:
    return repr(" ".join(start[:80].decode("utf-8", "replace").split()))


FOLDERS = (
    "a folder of Transformers, timm, PEFT, accelerate or DeepSpeed, the folder of a training run, "
    "or a distributed checkpoint"
)
"""Where the checkpoints lie that have more than one file."""


def _not_a_checkpoint(
    where: str, found: str, next_step: str | tuple[str, ...], cause: str | None = None
) -> CheckpointError:
    return CheckpointError(
        f"{where} is not a checkpoint",
        expected=f"a torch file, a safetensors file or NumPy's .npz; or {FOLDERS}",
        found=found,
        cause=cause,
        next_step=next_step,
    )
