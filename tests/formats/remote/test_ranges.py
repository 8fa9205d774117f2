"""A remote file read by ranges: each byte once, of one version, through whatever the server does."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.files.address import Address
from dinoport.files.remote.fetching import CONNECTIONS, Fetching
from dinoport.files.remote.http_ranges import FIRST_BYTES, HttpRanges, NoRangesError
from dinoport.files.remote.remote_file import BLOCK_BYTES, RemoteFile
from tests.error_text import error_text
from tests.http_server import Handler, Site, breaks_after, endless, serving, status, then

DATA = np.random.default_rng(11).bytes(1_000_000)


@pytest.fixture(autouse=True)
def offer(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["file"] = DATA
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def remote(site: Site) -> Iterator[RemoteFile]:
    ranges = HttpRanges(Address.of(site.url("file")))
    file = RemoteFile(ranges, ranges.beginning)
    yield file
    file.close()


def test_opening_takes_one_request(site: Site, remote: RemoteFile) -> None:
    assert remote.size_bytes == len(DATA)
    assert remote.read(10, 1000) == DATA[10:1010]
    assert site.asked("range") == [f"bytes=0-{FIRST_BYTES - 1}"]
    assert site.sent_bytes == FIRST_BYTES


def test_what_was_not_announced_comes_in_blocks_and_once(site: Site, remote: RemoteFile) -> None:
    for _ in range(3):
        assert remote.read(500_000, 100) == DATA[500_000:500_100]
        assert remote.read(500_200, 100) == DATA[500_200:500_300]
    assert remote.read(len(DATA) - 22, 22) == DATA[-22:]
    first = 500_000 // BLOCK_BYTES * BLOCK_BYTES
    assert site.asked("range")[1:] == [
        f"bytes={first}-{first + BLOCK_BYTES - 1}",
        f"bytes={len(DATA) // BLOCK_BYTES * BLOCK_BYTES}-{len(DATA) - 1}",
    ]


def test_what_was_announced_is_fetched_and_nothing_else(site: Site, remote: RemoteFile) -> None:
    remote.will_read([(600_000, 700_000), (200_000, 300_000), (300_000, 320_000)])
    assert remote.read(200_000, 120_000) == DATA[200_000:320_000]
    assert remote.read(600_000, 100_000) == DATA[600_000:700_000]
    assert sorted(site.asked("range")[1:], key=str) == ["bytes=200000-319999", "bytes=600000-699999"]
    assert site.sent_bytes == remote.fetched_bytes == FIRST_BYTES + 220_000


def test_what_was_announced_within_more_hides_nothing_of_it(site: Site, remote: RemoteFile) -> None:
    """The heads are read from some layers before all are converted."""
    remote.will_read([(200_000, 300_000)])
    assert remote.read(200_000, 100_000) == DATA[200_000:300_000]
    remote.will_read([(150_000, 600_000)])
    assert remote.read(590_000, 10_000) == DATA[590_000:600_000]
    assert remote.read(150_000, 450_000) == DATA[150_000:600_000]
    assert site.sent_bytes == remote.fetched_bytes == FIRST_BYTES + 450_000


def test_many_threads_read_what_is_there(remote: RemoteFile) -> None:
    remote.will_read([(start, start + 9_000) for start in range(100_000, 900_000, 10_000)])
    wrong: list[int] = []

    def read(offset: int) -> None:
        starts = range(offset, 990_000, 50_000)
        wrong.extend(start for start in starts if remote.read(start, 10_000) != DATA[start : start + 10_000])

    threads = [threading.Thread(target=read, args=(offset,)) for offset in range(0, 80_000, 10_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert remote.fetched_bytes <= len(DATA)


def test_a_broken_range_is_continued(site: Site, remote: RemoteFile, waits: list[float]) -> None:
    site.script = [breaks_after(10_000), status(503), status(429, Retry_After="3")]
    remote.will_read([(200_000, 300_000)])
    assert remote.read(200_000, 100_000) == DATA[200_000:300_000]
    assert site.asked("range")[1:] == ["bytes=200000-299999", *["bytes=210000-299999"] * 3]
    assert waits == [0.5, 1.0, 3.0]
    assert remote.fetched_bytes == FIRST_BYTES + 100_000


def test_a_server_that_fails_for_good(site: Site, remote: RemoteFile) -> None:
    site.script = [status(502) for _ in range(6)]
    assert error_text(CheckpointError, lambda: remote.read(500_000, 10)) == (
        f"{site.url('file')} could not be read: the server answers 502\n"
        "  found: 6 tries in a row failed\n"
        "  try: try again later"
    )


def test_a_failure_in_the_background_reaches_the_reader(site: Site, remote: RemoteFile) -> None:
    site.script = [status(404)]
    remote.will_read([(500_000, 600_000)])
    with pytest.raises(CheckpointError, match="does not exist"):
        remote.read(500_000, 100_000)


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_between_two_requests(site: Site, etags: bool) -> None:
    site.etags = etags
    ranges = HttpRanges(Address.of(site.url("file")))
    remote = RemoteFile(ranges, ranges.beginning)
    site.files["file"] = DATA[:-1] + b"abc"
    message = error_text(CheckpointError, lambda: remote.read(500_000, 10))
    assert message.startswith(f"{site.url('file')} changed while it was read\n  expected: the version that was there")
    assert "1000000 bytes" in message
    assert message.endswith("\n  try: wait until it is complete, or download it and give its path")
    remote.close()


def test_the_last_look_finds_a_change_too(site: Site, remote: RemoteFile) -> None:
    remote.check_unchanged()
    site.files["file"] = DATA[::-1]
    with pytest.raises(CheckpointError, match="changed while it was read"):
        remote.check_unchanged()
    assert site.asked("if-match")[1:] == [site.asked("if-match")[1]] * 2
    assert site.asked("range")[1:] == ["bytes=0-0"] * 2


def test_a_server_that_stops_giving_ranges(site: Site, remote: RemoteFile) -> None:
    site.ranges = False
    assert error_text(CheckpointError, lambda: remote.read(500_000, 10)) == (
        f"{site.url('file')} could not be read: the server stopped giving out ranges\n"
        "  try: download the file, and give its path"
    )


def test_a_server_without_ranges_is_told_apart(site: Site) -> None:
    site.ranges = False
    with pytest.raises(NoRangesError) as caught:
        HttpRanges(Address.of(site.url("file")))
    assert caught.value.validators.size_bytes == len(DATA)


def test_a_wrong_range_is_not_taken_for_the_right_one(site: Site, remote: RemoteFile) -> None:
    def elsewhere(handler: Handler) -> bool:
        handler.answer(206, DATA[:10], {"Content-Range": f"bytes 0-9/{len(DATA)}"})
        return True

    site.script = [elsewhere]
    with pytest.raises(CheckpointError, match="changed while it was read"):
        remote.read(500_000, 10)


def test_an_answer_without_end_is_read_as_far_as_it_was_asked_for(site: Site) -> None:
    site.script = [endless, endless]
    ranges = HttpRanges(Address.of(site.url("file")))
    assert ranges.beginning == DATA[:FIRST_BYTES]
    assert b"".join(ranges.stream(900_000, 1_000_000)) == DATA[900_000:]
    assert len(site.requests) == 2


def test_an_empty_file(site: Site) -> None:
    site.files["file"] = b""
    ranges = HttpRanges(Address.of(site.url("file")))
    assert (ranges.size_bytes, ranges.beginning) == (0, b"")


def test_redirects_are_skipped_once_they_are_known_and_renewed_when_they_expire(site: Site) -> None:
    with serving(Site(files={"signed1": DATA, "signed2": DATA})) as store:
        site.script = [status(302, Location=store.url("signed1"))]
        ranges = HttpRanges(Address(site.url("start"), "start", {"authorization": "Bearer secret"}))
        remote = RemoteFile(ranges, ranges.beginning)
        assert remote.read(500_000, 10) == DATA[500_000:500_010]
        assert len(site.requests) == 1
        store.script = [status(403)]
        site.script = [status(302, Location=store.url("signed2"))]
        assert remote.read(700_000, 10) == DATA[700_000:700_010]
        assert [path for path, _ in store.requests] == ["/signed1"] * 3 + ["/signed2"]
        assert store.asked("authorization") == [None] * 4
        remote.close()


def test_how_far_the_fetching_is(site: Site) -> None:
    told: list[tuple[str, int, int]] = []
    ranges = HttpRanges(Address.of(site.url("file")))
    fetching = Fetching("a-name-that-is-too-long-for-one-line-of-a-terminal.pth", lambda *how: told.append(how))
    remote = RemoteFile(ranges, ranges.beginning, fetching)
    remote.read(500_000, 10)
    remote.will_read([(0, 100), (600_000, 700_000), (800_000, 900_000)])
    remote.read(600_000, 100_000)
    remote.read(800_000, 100_000)
    remote.close()
    (stage,) = {stage for stage, _, _ in told}
    assert stage == "fetching a-name-that-is-too-long-for-one…"
    first = FIRST_BYTES + BLOCK_BYTES
    assert [total for _, _, total in told] == sorted(total for _, _, total in told)
    assert {total for _, _, total in told} == {FIRST_BYTES, first, first + 200_000}
    assert max(told, key=lambda how: how[1])[1:] == (site.sent_bytes, site.sent_bytes)


def test_files_of_one_folder_share_connections_and_turns(site: Site) -> None:
    names = [f"__{rank}_0.distcp" for rank in range(30)]
    site.files |= dict.fromkeys(names, DATA)
    fetching = Fetching()
    files = [RemoteFile(HttpRanges(Address.of(site.url(name)), 1), fetching=fetching) for name in names]
    gate, arrived = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        arrived.release()
        gate.wait(5)

    site.requests.clear()
    site.script = [then(hold) for _ in range(CONNECTIONS)]
    for file in files:
        file.will_read([(0, 100_000), (500_000, 600_000)])
    assert all(arrived.acquire(timeout=5) for _ in range(CONNECTIONS))
    assert len(site.requests) == CONNECTIONS
    gate.set()
    for file in files:
        assert file.read(0, 100_000) + file.read(500_000, 100_000) == DATA[:100_000] + DATA[500_000:600_000]
        file.close()
    assert len({path for path, _ in site.requests[:CONNECTIONS]}) > 1, "not one file after the other"
    assert site.sent_bytes == 30 * (1 + 200_000)


def test_an_error_that_no_one_foresaw_reaches_the_reader(
    site: Site, remote: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that ends without a word would leave the reader waiting for ever."""

    def stream(self: HttpRanges, start: int, stop: int) -> Iterator[bytes]:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(HttpRanges, "stream", stream)
    remote.will_read([(500_000, 600_000)])
    with pytest.raises(RuntimeError, match="unforeseen"):
        remote.read(500_000, 100_000)


def test_reading_beyond_the_end(remote: RemoteFile) -> None:
    with pytest.raises(CheckpointError, match="ends too early\n  expected: 10 bytes at offset 999999"):
        remote.read(999_999, 10)


def test_a_disk_without_room(remote: RemoteFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "dinoport.files.remote.fetching.shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})
    )
    assert error_text(CheckpointError, lambda: remote.will_read([(500_000, 600_000)])) == (
        f"{tmp_path / 'cache'} has no room for what is wanted of {remote.where}\n"
        "  expected: 100000 bytes free, until the conversion is done\n"
        "  found: 10\n"
        "  try: free some space, or set DINOPORT_CACHE to a folder on a larger disk"
    )


def test_a_cache_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    ranges = HttpRanges(Address.of(site.url("file")))
    assert error_text(CheckpointError, lambda: RemoteFile(ranges, ranges.beginning)) == (
        f"{tmp_path / 'cache'} cannot hold what is fetched: File exists\n"
        "  try: set DINOPORT_CACHE to a folder that can be written to, with room for the weights"
    )


def test_nothing_is_left_and_nothing_is_read_after_closing(site: Site, tmp_path: Path) -> None:
    ranges = HttpRanges(Address.of(site.url("file")))
    remote = RemoteFile(ranges, ranges.beginning)
    waiting = threading.Event()
    site.script = [then(lambda: waiting.wait(5))]
    remote.will_read([(500_000, 600_000)])
    remote.close()
    waiting.set()
    with pytest.raises(CheckpointError, match="was closed while it was read"):
        remote.read(500_000, 10)
    assert list((tmp_path / "cache").iterdir()) == []
