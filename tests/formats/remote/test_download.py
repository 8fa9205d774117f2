"""A download is continued, checked, locked, and in place only when it is complete."""

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from dinoport.errors import CheckpointError
from dinoport.files.address import Address
from dinoport.files.remote.download import download
from tests.error_text import error_text
from tests.http_server import Site, breaks_after, endless, status, then

DATA = np.random.default_rng(7).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def fetch(site: Site, folder: Path, **options: str) -> Path:
    target = folder / "cache" / "file.pth"
    download(Address.of(site.url("file.pth")), target, lambda path, address: None, **options)  # type: ignore[arg-type]  # one is text
    return target


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


@pytest.fixture(autouse=True)
def offer(site: Site) -> None:
    site.files["file.pth"] = DATA


def test_the_file_and_nothing_else_is_left(site: Site, tmp_path: Path) -> None:
    target = fetch(site, tmp_path, sha256_prefix=SHA256[:8])
    assert target.read_bytes() == DATA
    assert left_over(target) == ["file.pth"]
    assert site.asked("range") == [None]


def test_what_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    fetch(site, tmp_path)
    fetch(site, tmp_path)
    assert len(site.requests) == 1


def test_a_broken_connection_is_continued_where_it_broke(site: Site, tmp_path: Path, waits: list[float]) -> None:
    site.script = [breaks_after(100_000), breaks_after(50_000)]
    target = fetch(site, tmp_path)
    assert target.read_bytes() == DATA
    assert site.sent_bytes == len(DATA)
    assert site.asked("range") == [None, "bytes=100000-", "bytes=150000-"]
    etag = f'"{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"'
    assert site.asked("if-range") == [None, etag, etag]
    assert waits == [0.5, 0.5], "the waits begin anew after each success"


def test_a_rest_without_end_is_read_as_far_as_the_file_goes(site: Site, tmp_path: Path) -> None:
    site.script = [breaks_after(100_000), endless]
    assert fetch(site, tmp_path).read_bytes() == DATA


def test_a_later_run_continues_what_an_earlier_one_left(site: Site, tmp_path: Path) -> None:
    site.script = [breaks_after(120_000), *[status(503)] * 5]
    assert error_text(CheckpointError, lambda: fetch(site, tmp_path)) == (
        f"{site.url('file.pth')} could not be read: the server answers 503\n"
        "  found: 6 tries in a row failed\n"
        "  try: try again later; what has come so far is kept, and continued"
    )
    part = tmp_path / "cache" / "file.pth.part"
    assert part.stat().st_size == 120_000
    site.requests.clear()
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.asked("range") == ["bytes=120000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    other = DATA[::-1]
    site.script = [breaks_after(120_000), then(lambda: site.files.update({"file.pth": other}))]
    assert fetch(site, tmp_path).read_bytes() == other


def test_without_validators_a_download_begins_anew(site: Site, tmp_path: Path) -> None:
    site.etags = False
    site.script = [breaks_after(100_000), *[status(500)] * 5]
    with pytest.raises(CheckpointError, match="500"):
        fetch(site, tmp_path)
    site.requests.clear()
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.asked("range") == [None]


def test_a_note_that_is_damaged_is_not_believed(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "file.pth.part").write_bytes(b"not the beginning")
    (folder / "file.pth.part.json").write_text(json.dumps({"address": site.url("file.pth"), "etag": 3}))
    assert fetch(site, tmp_path).read_bytes() == DATA


def test_a_server_that_asks_for_patience_gets_it(site: Site, tmp_path: Path, waits: list[float]) -> None:
    site.script = [status(429, Retry_After="7"), status(503)]
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert waits == [7.0, 1.0]


def test_a_server_that_asks_for_too_much_patience_does_not(site: Site, tmp_path: Path, waits: list[float]) -> None:
    site.script = [status(429, Retry_After="3600")]
    with pytest.raises(CheckpointError, match="the server answers 429, and asks to wait 3600 seconds"):
        fetch(site, tmp_path)
    assert waits == []


def test_another_hash_is_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    assert error_text(CheckpointError, lambda: fetch(site, tmp_path, sha256_prefix="0badc0de")) == (
        f"{site.url('file.pth')} is not the file that was published under this name\n"
        "  expected: a SHA-256 that begins with 0badc0de\n"
        f"  found: {SHA256[:8]}\n"
        "  likely cause: a damaged download, or a file that someone put in its place\n"
        "  try: delete it, and fetch it again"
    )
    assert left_over(tmp_path / "cache" / "file.pth") == []


def test_a_check_that_fails_keeps_nothing(site: Site, tmp_path: Path) -> None:
    def check(path: Path, address: Address) -> None:
        raise CheckpointError("not what was wanted")

    target = tmp_path / "file.pth"
    with pytest.raises(CheckpointError, match="not what was wanted"):
        download(Address.of(site.url("file.pth")), target, check)
    assert left_over(target) == []


def test_a_second_download_waits_for_the_first(site: Site, tmp_path: Path) -> None:
    stages: list[str] = []
    target = tmp_path / "file.pth"
    held, done = threading.Event(), threading.Event()

    def first() -> None:
        with FileLock(tmp_path / "file.pth.lock"):
            held.set()
            done.wait(10)
            target.write_bytes(b"what the first one made")

    def tell(stage: str, done_bytes: int, total: int) -> None:
        stages.append(stage)
        done.set()

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(10)
    download(Address.of(site.url("file.pth")), target, lambda path, address: None, on_progress=tell)
    thread.join()
    assert stages == ["waiting for another download of this file"]
    assert target.read_bytes() == b"what the first one made"
    assert site.requests == []


def test_progress_counts_bytes(site: Site, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    download(
        Address.of(site.url("file.pth")),
        tmp_path / "file.pth",
        lambda path, address: None,
        on_progress=lambda *now: told.append(now),
    )
    assert told[-1] == ("downloading file.pth", len(DATA), len(DATA))


def test_a_file_that_does_not_exist(site: Site, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        download(Address.of(site.url("typo.pth?token=secret")), tmp_path / "typo.pth", lambda path, address: None)
    assert str(caught.value) == (
        f"{site.url('typo.pth')}?… does not exist\n"
        "  found: HTTP status 404\n"
        "  likely cause: a typing error, or a file that was moved\n"
        "  try: open the address in a browser to see what the server says"
    )


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert error_text(CheckpointError, lambda: fetch(site, tmp_path)) == (
        f"{tmp_path / 'cache'} cannot hold a download: File exists\n"
        f"  where: {tmp_path / 'cache' / 'file.pth'}\n"
        "  try: set TORCH_HOME (or XDG_CACHE_HOME) to a folder that can be written to"
    )


@pytest.mark.parametrize("setting", ["TORCH_HOME", "DINOPORT_CACHE"])
def test_a_disk_without_room(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("dinoport.files.remote.download.shutil.disk_usage", lambda path: usage)
    assert error_text(CheckpointError, lambda: fetch(site, tmp_path, setting=setting)) == (
        f"{tmp_path / 'cache'} has no room for {site.url('file.pth')}\n"
        "  expected: 300000 bytes free\n"
        "  found: 1000\n"
        f"  try: free some space, or set {setting} to a folder on a larger disk"
    )
