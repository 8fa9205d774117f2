"""Checkpoints in the stores of fsspec, and what fsspec is not asked to do."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from dinoport.errors import CheckpointError, MissingPackageError
from dinoport.formats.remote.opening import open_remote
from tests.error_text import error_text
from tests.formats.remote.expected import DATA, same_tensors


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/checkpoint.pth", DATA)
    yield memory
    memory.rm("/bucket", recursive=True)


def test_a_store_that_fsspec_knows(store: fsspec.AbstractFileSystem) -> None:
    with open_remote("memory://bucket/checkpoint.pth") as checkpoint:
        assert checkpoint.where == "memory://bucket/checkpoint.pth"
        assert same_tensors(checkpoint)
        assert checkpoint.remarks == ()
        checkpoint.check_unchanged()
        store.pipe("/bucket/checkpoint.pth", DATA + b"more")
        with pytest.raises(CheckpointError, match=r"memory://bucket/checkpoint.pth changed while it was read"):
            checkpoint.check_unchanged()


def test_a_file_that_a_store_does_not_have(store: fsspec.AbstractFileSystem) -> None:
    assert error_text(CheckpointError, lambda: open_remote("memory://bucket/typo.pth")) == (
        "memory://bucket/typo.pth could not be read: it does not exist\n"
        "  try: check the address, and that you are logged in to the store"
    )


def test_a_store_that_stumbles(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    answers = iter([TimeoutError(), ConnectionResetError()])
    genuine = type(store).cat_file

    def stumbling(self: fsspec.AbstractFileSystem, path: str, **options: int) -> bytes:
        for error in answers:
            raise error
        return genuine(self, path, **options)

    monkeypatch.setattr(type(store), "cat_file", stumbling)
    with open_remote("memory://bucket/checkpoint.pth") as checkpoint:
        assert same_tensors(checkpoint)
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(
    ("address", "absent", "needs"),
    [
        ("s3://bucket/x.pth", ["s3fs"], "s3:// needs s3fs, which is"),
        ("gs://bucket/x.pth", ["gcsfs"], "gs:// needs gcsfs, which is"),
        ("abfss://box/x.pth", ["adlfs"], "abfss:// needs adlfs, which is"),
        ("az://box/", ["fsspec", "adlfs"], "az:// needs fsspec and adlfs, which are"),
    ],
)
def test_packages_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, address: str, absent: list[str], needs: str
) -> None:
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None if name in absent else name)
    assert error_text(MissingPackageError, lambda: open_remote(address)) == (
        f"{needs} not installed\n  try: pip install {' '.join(absent)}"
    )


def test_a_package_that_lacks_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> None:
        raise ImportError("no botocore", name="botocore")

    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: name)
    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    assert error_text(MissingPackageError, lambda: open_remote("s3://bucket/checkpoint.pth")) == (
        "s3:// cannot be opened: a package that s3fs needs is missing (botocore)\n"
        "  try: pip install --upgrade fsspec s3fs"
    )


CHAIN = "  found: a chain of addresses, of which fsspec would open each\n"


@pytest.mark.parametrize(
    ("source", "said", "found"),
    [
        ("gopher://host/checkpoint.pth", "gopher://host/checkpoint.pth", ""),
        ("reference://me:pw@host/x?fo=SECRET", "reference://host/x?…", ""),
        ("simplecache::s3://me:pw@bucket/SECRET", "simplecache::…", CHAIN),
        ("memory://a.pth::file:///SECRET", "memory://a.pth::…", CHAIN),
    ],
)
def test_what_fsspec_would_do_and_is_not_asked_to(source: str, said: str, found: str) -> None:
    assert error_text(CheckpointError, lambda: open_remote(source)) == (
        f"{said} is an address of a kind that is not read\n"
        "  expected: https://, http://, hf://, s3://, gs:// or az://\n"
        f"{found}"
        "  try: check the address, or download the file and give its path"
    )


def test_a_path_that_is_written_like_an_address(tmp_path: Path) -> None:
    assert error_text(CheckpointError, lambda: open_remote(f"file://{tmp_path}/x.pth")) == (
        f"file://{tmp_path}/x.pth is a path that is written like an address\n"
        "  try: leave the scheme out, and give the path itself"
    )


class NoCredentialsError(Exception):
    """What a store's own package raises: no OSError, and with what must not be printed."""


@pytest.mark.parametrize("method", ["info", "cat_file"])
def test_a_login_that_fails_is_said_without_its_secrets(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse(self: object, *args: object, **options: object) -> None:
        raise NoCredentialsError("key=SECRET")

    with monkeypatch.context() as patched:
        patched.setattr(type(store), method, refuse)
        with pytest.raises(CheckpointError) as caught:
            open_remote("memory://bucket/checkpoint.pth")
    message = str(caught.value)
    assert message.startswith("memory://bucket/checkpoint.pth could not be read: its package raised NoCredentialsError")
    assert "SECRET" not in message
    assert caught.value.__cause__ is None


def test_a_store_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> None:
        raise ValueError("account_key=SECRET")

    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: name)
    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    assert error_text(CheckpointError, lambda: open_remote("az://box/checkpoint.pth")) == (
        "az://box/checkpoint.pth could not be read: its package raised ValueError\n"
        "  try: check the address, and that you are logged in to the store"
    )


def test_offline_no_store_is_asked(store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"memory://bucket/checkpoint.pth was not fetched: HF_HUB_OFFLINE is set"):
        open_remote("memory://bucket/checkpoint.pth")
