"""What people give for a checkpoint, told by its content, and one clear message for what is none."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.single_file import read_file
from tests.error_text import error_text
from tests.formats.memory import Memory, torch_zip, zipped
from tests.fuzz.seeds import seeds

GIVE = "give the .pth, .safetensors or folder that the weights are in"
GIVE_PYTORCH = "give the PyTorch checkpoint"
PROVE_THE_GRAPH = "give the PyTorch checkpoint; to prove the graph, `dinoport.verify(CHECKPOINT, GRAPH)`"


def numpy_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


PAGE = "open the address in a browser, log in or ask for access, and download again"

OTHERS = {
    "nothing": (b"", "an empty file", "fetch it again"),
    "an LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer, not the file it points to",
        "git lfs pull",
    ),
    "html": (b"<!DOCTYPE html>\n<html>", "a web page: '<!DOCTYPE html> <html>'", PAGE),
    "html behind spaces": (b"\n  <HTML><title>x", "a web page: '<HTML><title>x'", PAGE),
    "xml": (b"<?xml version='1.0'?><Error>", "a web page: \"<?xml version='1.0'?><Error>\"", PAGE),
    "text": (b"Not found.\n", "text: 'Not found.'", GIVE),
    "text of other letters": ("日本\n".encode() * 200, "text: '" + "日本 " * 11 + "日'", GIVE),
    "json": (b'{"a": 1}', "text: '{\"a\": 1}'", GIVE),
    "text like a pickle": (b"calm down,\nplease\n", "text: 'calm down, please'", GIVE),
    "bytes": (bytes(range(200, 256)), "bytes of no known format", GIVE),
    "zeros": (bytes(1000), "bytes of no known format", GIVE),
    "an empty zip": (zipped({}), "an empty zip file", "fetch it again"),
    "msgpack": (
        b"\x83\xaaembeddings\x82\xa9cls_token",
        "a file of msgpack, as Flax writes them",
        "load it in Transformers 4 with from_flax=True, and save_pretrained",
    ),
    "HDF5": (b"\x89HDF\r\n", "an HDF5 file, as Keras writes them", GIVE_PYTORCH),
    "npy": (numpy_array(), "a NumPy array", GIVE_PYTORCH),
    "GGUF": (b"GGUF\3\0\0\0", "a GGUF file", GIVE_PYTORCH),
    "ONNX": (b"\x08\x0a\x12\x07pytorch", "an ONNX graph", PROVE_THE_GRAPH),
    "PDF": (b"%PDF-1.7", "a PDF", GIVE_PYTORCH),
    "PNG": (b"\x89PNG\r\n", "a PNG picture", GIVE_PYTORCH),
    "JPEG": (b"\xff\xd8\xff\xe0", "a JPEG picture", GIVE_PYTORCH),
}  # fmt: skip

CAUSES = {
    "nothing": "a download that did not begin",
    "html": "a download that was refused, or an address of a page about the file",
    "html behind spaces": "a download that was refused, or an address of a page about the file",
    "xml": "a download that was refused, or an address of a page about the file",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_checkpoint(tmp_path, name):
    data, found, next_step = OTHERS[name]
    path = tmp_path / "vit_small.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    cause = f"  likely cause: {CAUSES[name]}\n" if name in CAUSES else ""
    assert str(caught.value) == (
        f"{path} is not a checkpoint\n"
        "  expected: a torch file, a safetensors file or NumPy's .npz; or a folder of Transformers, timm, PEFT, "
        "accelerate or DeepSpeed, the folder of a training run, or a distributed checkpoint\n"
        f"  found: {found}\n{cause}  try: {next_step}"
    )


def test_a_config_that_is_given_alone_leads_to_its_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "config.json")
    assert str(caught.value).endswith(f"""  found: text: '{{"model_type": "vit"}}'
  try: give the folder that it lies in: {tmp_path}""")


def test_the_name_does_not_matter():
    for name in ("a.safetensors", "a.bin", "a", "a.pth.tar"):
        for format_name, target in (("torch zip file", "zip"), ("safetensors file", "safetensors")):
            assert read_file(Memory(seeds()[target][0], name))[0] == format_name


def test_a_damaged_safetensors_file_is_called_one():
    with pytest.raises(CheckpointError, match=r"a\.safetensors is not a sound safetensors file"):
        read_file(Memory(bytes(50), "a.safetensors"))


def test_an_old_pickle_that_looks_like_text_is_searched_for_names():
    with pytest.raises(UnsafeCheckpointError, match=r"names os\.system"):
        read_file(Memory(b"cos\nsystem\n(S'true'\ntR."))


def test_a_folder_of_something_else(tmp_path):
    for name in "abcdefgh":
        (tmp_path / f"{name}.png").touch()
    assert error_text(CheckpointError, lambda: open_checkpoint(tmp_path)) == (
        f"{tmp_path} is a folder, but not one that holds a checkpoint\n"
        "  expected: a folder of Transformers, timm, PEFT, accelerate or DeepSpeed, the folder of a "
        "training run, or a distributed checkpoint\n"
        "  found: a.png, b.png, c.png, d.png, e.png, f.png, and 2 more\n"
        "  try: give the file or the folder that the weights are in"
    )


def test_a_folder_whose_weights_are_a_link_that_leads_nowhere(tmp_path):
    """As of a cache whose blobs were deleted, and of git-annex before `get`."""
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "model.safetensors").symlink_to("../blobs/123")
    assert error_text(CheckpointError, lambda: open_checkpoint(tmp_path)) == (
        f"{tmp_path} holds no checkpoint, and links in it lead nowhere\n"
        "  found: model.safetensors, a link to ../blobs/123\n"
        "  likely cause: the files were moved or deleted, or were never fetched, as by git-annex\n"
        "  try: fetch the files that the links lead to, or give the folder that they are in"
    )


def test_an_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match="found: nothing"):
        open_checkpoint(tmp_path)


def test_a_link_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(CheckpointError, match="cannot be read: Too many levels of symbolic links"):
        open_checkpoint(tmp_path / "a")


def test_files_are_closed_when_opening_fails(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(torch_zip(b"cos\nsystem\n."))
    before = open_files()
    for _ in range(5):
        with pytest.raises(UnsafeCheckpointError):
            open_checkpoint(path)
    assert open_files() == before


def open_files() -> int:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("this system does not list a process's open files")
    return len(list(folder.iterdir()))


def test_a_name_that_no_disk_takes(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read: File name too long"):
        open_checkpoint(tmp_path / ("a" * 300))


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    def refused(path: Path, **options: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(Path, "is_file", refused)
    assert error_text(CheckpointError, lambda: open_checkpoint(tmp_path / "run")) == (
        f"{tmp_path}/run/config.json cannot be read: Permission denied\n  try: ls -l {tmp_path}/run/config.json"
    )
