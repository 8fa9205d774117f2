"""Archives are refused with the commands that unpack them, and these commands are run here as they are printed."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dinoport.cli.options import as_options
from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from tests.command_line import DEMO
from tests.formats.memory import Memory

FORMAT = (
    "a torch file, a safetensors file or NumPy's .npz; or a folder of Transformers, timm, PEFT, accelerate or "
    "DeepSpeed, the folder of a training run, or a distributed checkpoint"
)


def tar(path: Path, mode: str) -> None:
    with tarfile.open(path, mode) as archive:
        archive.add(DEMO, "run/model.pth")


def zip_of_a_folder(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(DEMO, "run/model.pth")
        archive.writestr("run/notes.txt", "notes")


def alone(path: Path, pack: Callable[[bytes], bytes]) -> None:
    path.write_bytes(pack(DEMO.read_bytes()))


MADE: dict[str, tuple[str, Callable[[Path], None], str, str]] = {
    "tar": ("m.tar", lambda path: tar(path, "w"), "a tar archive", "m"),
    "tar.gz": ("my model.tar.gz", lambda path: tar(path, "w:gz"), "a tar archive, compressed with gzip", "my model"),
    "tgz": ("m.tgz", lambda path: tar(path, "w:gz"), "a tar archive, compressed with gzip", "m"),
    "tar.xz": ("m.tar.xz", lambda path: tar(path, "w:xz"), "a tar archive, compressed with xz", "m"),
    "tar.bz2": ("m.tar.bz2", lambda path: tar(path, "w:bz2"), "a tar archive, compressed with bzip2", "m"),
    "pth.tar": ("m.pth.tar", lambda path: tar(path, "w"), "a tar archive", "m"),
    "tar in m.pth": ("m.pth", lambda path: tar(path, "w:gz"), "a tar archive, compressed with gzip", "m"),
    "gz": ("m.pth.gz", lambda path: alone(path, gzip.compress), "a file compressed with gzip", "m.pth"),
    "xz": ("m.pth.xz", lambda path: alone(path, lzma.compress), "a file compressed with xz", "m.pth"),
    "bz2": ("m.pth.bz2", lambda path: alone(path, bz2.compress), "a file compressed with bzip2", "m.pth"),
    "gz without a name": ("m", lambda path: alone(path, gzip.compress), "a file compressed with gzip", "m-unpacked"),
    "zip": ("m.zip", lambda path: zip_of_a_folder(path, zipfile.ZIP_STORED), "run/model.pth, run/notes.txt", "m"),
    "deflated zip": (
        "m.zip",
        lambda path: zip_of_a_folder(path, zipfile.ZIP_DEFLATED),
        "run/model.pth, run/notes.txt",
        "m",
    ),
}  # fmt: skip


def refused(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    return caught.value


@pytest.mark.parametrize("name", MADE)
def test_the_commands_unpack_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file, make, found, place = MADE[name]
    make(tmp_path / file)
    monkeypatch.chdir(tmp_path)
    error = refused(Path(file))
    assert (error.found, str(error).count("\n")) == (found, 5 if error.cause else 4)
    unpack, look = map(as_options, error.next_step or ("", ""))
    if os.name == "nt" or shutil.which(unpack.replace("mkdir", "tar").split()[0]) is None:
        pytest.skip("this machine has no such program")
    subprocess.run(["sh", "-c", unpack], check=True)
    assert look == f"dinoport inspect {place if ' ' not in place else repr(place)}"
    assert Path(place).exists()
    done = subprocess.run(
        ["sh", "-c", look.replace("dinoport", f"{sys.executable} -m dinoport", 1)],
        capture_output=True,
        text=True,
        check=False,
    )
    within = Path(place) / "run/model.pth" if Path(place).is_dir() else Path(place)
    assert within.read_bytes() == DEMO.read_bytes()
    if Path(place).is_dir():  # the checkpoint is one folder below, and its command is printed
        assert "run/model.pth" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_it_is_unpacked_where_the_user_is_and_nothing_there_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with archives is often read only."""
    (tmp_path / "archives").mkdir()
    tar(tmp_path / "archives" / "m.tar", "w")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in ("m", "m-unpacked"):
        assert as_options(str(refused(Path("../archives/m.tar")))) == (
            f"../archives/m.tar is not a checkpoint\n  expected: {FORMAT}\n  found: a tar archive\n"
            f"  try: mkdir {place} && tar -xf ../archives/m.tar -C {place}\n       dinoport inspect {place}"
        )
        Path("m").mkdir(exist_ok=True)


def test_an_address_is_downloaded_first() -> None:
    from dinoport.formats.single_file import read_file

    with pytest.raises(CheckpointError) as caught:
        read_file(Memory(gzip.compress(b"x" * 900), where="https://x.org/a/m.pth.gz?…"))
    assert caught.value.next_step == (
        "download it first",
        "gunzip -c m.pth.gz > m.pth",
        "`dinoport.inspect('m.pth')`",
    )


@pytest.mark.parametrize("time", [0, 0.5])
def test_what_torch_wrote_before_0_2_is_called_so(tmp_path: Path, time: float) -> None:
    """A time with a fraction, as a file system has it, puts a header of its own before the first member."""
    with tarfile.open(tmp_path / "old.pth", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            member = tarfile.TarInfo(name)
            member.mtime = time
            archive.addfile(member)
    error = refused(tmp_path / "old.pth")
    assert error.found == "a tar archive, as torch before 0.2 wrote checkpoints"
    assert error.next_step == ("load it with torch where you trust it, and save the state dict again",)


def test_a_tar_archive_with_such_a_file_behind_another_is_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "run.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("model", "sys_info"):
            member = tarfile.TarInfo(name)
            member.size = 512
            archive.addfile(member, io.BytesIO(bytes(512)))
    assert refused(tmp_path / "run.tar").found == "a tar archive"


OTHERS = {
    "zstandard": (b"\x28\xb5\x2f\xfd", "m.pth.zst", "a file compressed with zstandard", "unzstd -c m.pth.zst > m.pth"),
    "tar in zstandard": (
        *(b"\x28\xb5\x2f\xfd", "m.tar.zst", "a tar archive, compressed with zstandard"),
        "mkdir m && tar -xf m.tar.zst -C m",
    ),
    "lz4": (b"\x04\x22\x4d\x18", "m.pth.lz4", "a file compressed with lz4", "unlz4 -c m.pth.lz4 > m.pth"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c", "m.7z", "a 7-Zip archive", "7z x m.7z -om"),
    "RAR": (b"Rar!\x1a\7", "m.rar", "a RAR archive", "unrar x m.rar m/"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_told_by_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    content, file, found, command = OTHERS[name]
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(content)
    error = refused(Path(file))
    assert error.found == found
    assert error.next_step == (command, f"`dinoport.inspect('{'m' if '> ' not in command else 'm.pth'}')`")


@pytest.mark.parametrize("size", [2, 3, 10, 40])
@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_one_that_is_cut_is_called_compressed_too(tmp_path: Path, pack: Callable[[bytes], bytes], size: int) -> None:
    (tmp_path / "m").write_bytes(pack(bytes(range(256)) * 40)[: max(size, 6)])
    assert (refused(tmp_path / "m").found or "").startswith("a file compressed with ")
