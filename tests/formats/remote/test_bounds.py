"""What a server may take over all. Each bound is tested against a server that breaks it, with the bound made short."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dinoport.errors import CheckpointError
from dinoport.files.address import Address, check_sound, is_inside
from dinoport.files.remote import client, download, filesystem, http, patience
from dinoport.files.remote.download import download as download_file
from dinoport.files.remote.folder import RemoteFolder
from dinoport.files.remote.http import fetch_whole
from dinoport.files.remote.http_ranges import HttpRanges, NoRangesError
from dinoport.formats.remote.opening import open_remote
from tests.error_text import error_text
from tests.formats.remote.expected import DATA
from tests.http_server import Handler, Site, serving, status

SHORT = 0.25
"""Seconds, in the place of a bound of fifteen."""


@pytest.fixture(autouse=True)
def short(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["file"] = DATA
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(client, "ANSWER_SECONDS", SHORT)
    monkeypatch.setattr(client, "WINDOW_SECONDS", SHORT)


def drips(head: bytes, part: bytes, seconds: float = 0.02) -> Callable[[Handler], bool]:
    """An answer that begins with `head`, and of which a `part` comes now and then without end."""

    def step(handler: Handler) -> bool:
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.write(head)
            for _ in range(500):
                handler.wfile.write(part)
                handler.wfile.flush()
                time.sleep(seconds)
        return True

    return step


OK = b"HTTP/1.1 200 OK\r\n"
PART = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-65535/1000000\r\n"
LONG = b"Content-Length: 65536\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

SLOW = {
    "a status line without end": drips(b"HTTP/1.1 200 O", b"K"),
    "headers without end": drips(OK, b"X-More: of this\r\n"),
    "one header without end": drips(OK + b"X-More: ", b"x"),
    "nothing": drips(b"", b""),
    "hints without end": drips(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "a body byte by byte": drips(OK + LONG, b"x"),
    "a part byte by byte": drips(PART + LONG, b"x"),
    "a body that does not begin": drips(OK + LONG, b""),
    "chunks of a byte": drips(OK + CHUNKED, b"1\r\nx\r\n"),
    "a chunk's length without end": drips(OK + CHUNKED + b"1;", b"x"),
    "a trailer without end": drips(OK + CHUNKED + b"0\r\n", b"X-More: of this\r\n"),
    "a body until the connection closes": drips(OK + b"Connection: close\r\n\r\n", b"x"),
}


def small(site: Site, folder: Path) -> object:
    return fetch_whole(Address.of(site.url("file")), 1000)


def ranges(site: Site, folder: Path) -> object:
    try:
        return HttpRanges(Address.of(site.url("file")))
    except NoRangesError:
        return download_file(Address.of(site.url("file")), folder / "file.pth", lambda path, address: None)


def whole(site: Site, folder: Path) -> object:
    return download_file(Address.of(site.url("file")), folder / "file.pth", lambda path, address: None)


@pytest.mark.parametrize("read", [small, ranges, whole])
@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_server_is_given_up_after_a_second_try(
    site: Site, tmp_path: Path, kind: str, read: Callable[[Site, Path], object]
) -> None:
    site.always = SLOW[kind]
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match="could not be read"):
        read(site, tmp_path)
    assert time.monotonic() - begun < 12 * SHORT
    assert len(site.requests) <= 4


def test_how_a_slow_server_is_told_of(site: Site) -> None:
    for kind, reason in (
        ("headers without end", "it did not answer within 0 seconds"),
        ("a body byte by byte", "it sends fewer than 1000 bytes a second"),
    ):
        site.always = SLOW[kind]
        assert error_text(CheckpointError, lambda: fetch_whole(Address.of(site.url("file")), 1000)).startswith(
            f"{site.url('file')} could not be read: {reason}\n  found: 2 tries in a row failed\n  try: "
        )


def test_a_slow_reader_is_no_slow_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SLOWEST_BYTES_PER_SECOND", 2_000_000)
    stream = HttpRanges(Address.of(site.url("file"))).stream(0, len(DATA))
    came = 0
    for data in stream:
        came += len(data)
        time.sleep(SHORT / 10)
    assert came == len(DATA)


@pytest.mark.parametrize("count", [1, 7, 500])
def test_answers_that_are_too_short_are_counted(site: Site, waits: list[float], count: int) -> None:
    remote = HttpRanges(Address.of(site.url("file")), 1)

    def stingy(handler: Handler) -> bool:
        first = int(handler.headers["range"].removeprefix("bytes=").split("-")[0])
        said = {"Content-Range": f"bytes {first}-{first + count - 1}/{len(DATA)}"}
        handler.answer(206, DATA[first : first + count], said)
        return True

    site.always = stingy
    with pytest.raises(CheckpointError, match="it sends less than what was asked for\n  found: 6 tries"):
        for _ in remote.stream(100, len(DATA)):
            pass
    assert waits == list(patience.WAITS_SECONDS)
    assert len(site.requests) == 2 + len(waits)


def test_answers_that_are_just_long_enough_are_bounded_too(
    site: Site, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "MAX_WAITED_SECONDS", 3.0)
    remote = HttpRanges(Address.of(site.url("file")), 1)
    count = patience.ENOUGH_BYTES

    def capped(handler: Handler) -> bool:
        first = int(handler.headers["range"].removeprefix("bytes=").split("-")[0])
        handler.answer(206, DATA[first : first + count], {"Content-Range": f"bytes {first}-{first}/{len(DATA)}"})
        return True

    site.always = capped
    with pytest.raises(CheckpointError, match="its answers and waits took more than 3 seconds all together"):
        for _ in remote.stream(0, len(DATA)):
            pass
    assert 4 < len(waits) < 10


NOW = datetime.now(timezone.utc)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "0"}, 0.5),
        ({"Retry_After": "-5"}, 0.5),
        ({"Retry_After": "²"}, 0.5),
        ({"Retry_After": "soon"}, 0.5),
        ({"Retry_After": format_datetime(NOW - timedelta(days=9), usegmt=True)}, 0.5),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:30", "Date": "Wed, 21 Oct 2015 07:28:00 -0000"}, 30.0),
        ({"Retry_After": "Wed, 99 Oct 99999 99:99:99 GMT"}, 0.5),
    ],
)
def test_what_a_server_asks_to_wait(site: Site, waits: list[float], headers: dict[str, str], wait: float) -> None:
    site.script = [dated(503, headers)]
    assert fetch_whole(Address.of(site.url("file")), 10**7)[0] == DATA
    assert waits == [wait]


def dated(code: int, headers: dict[str, str]) -> Callable[[Handler], bool]:
    """As `status`, without the date that the server sends by itself."""

    def step(handler: Handler) -> bool:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        handler.wfile.write(f"HTTP/1.1 {code} No\r\nContent-Length: 0\r\n{lines}\r\n".encode("latin-1", "replace"))
        return True

    return step


@pytest.mark.parametrize("asked", ["61", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_that_asks_for_too_long_is_not_waited_for(site: Site, waits: list[float], asked: str) -> None:
    site.always = dated(429, {"Retry_After": asked})
    with pytest.raises(CheckpointError, match=r"the server answers 429, and asks to wait \d+ seconds"):
        fetch_whole(Address.of(site.url("file")), 1000)
    assert waits == []


def test_what_is_waited_over_all(site: Site, waits: list[float]) -> None:
    site.always = dated(429, {"Retry_After": "60"})
    with pytest.raises(CheckpointError, match="its answers and waits took more than 120 seconds all together"):
        fetch_whole(Address.of(site.url("file")), 1000)
    assert waits == [60.0] * 1 + [60.0] * (len(waits) - 1)
    assert sum(waits) <= patience.MAX_WAITED_SECONDS


def test_the_files_of_a_folder_have_one_bound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer comes in time, and there are many."""
    monkeypatch.setattr(patience, "MAX_WAITED_SECONDS", 1.0)

    def late(handler: Handler) -> bool:
        time.sleep(SHORT / 2)
        return False

    site.always = late
    site.files |= {f"many/{number}": b"x" for number in range(0, 200, 2)}  # the others are not there
    with pytest.raises(CheckpointError, match="took more than 1 seconds all together"):
        RemoteFolder(site.url("many/")).missing([str(number) for number in range(200)])
    assert len(site.requests) < 40


@pytest.mark.parametrize("said", ["", "Content-Length: 10000000000000\r\n"])
@pytest.mark.parametrize("content", [b"x", b"<html>", b"\0", b"\x1f\x8b", b"%PDF"])
def test_an_endless_body_that_is_no_checkpoint_is_left_at_once(
    site: Site, tmp_path: Path, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10**18})
    monkeypatch.setattr("dinoport.files.remote.download.shutil.disk_usage", lambda path: usage)
    site.always = drips(OK + f"{said}Connection: close\r\n\r\n".encode(), content * 20_000, 0)
    with pytest.raises(CheckpointError, match="did not give a checkpoint, and what came was not kept"):
        open_remote(site.url("file"))
    assert not list(tmp_path.glob("cache/downloads/*"))


@pytest.mark.parametrize("content", [b"PK\3\4", b"\x80\x02}q", b"\x10\0\0\0\0\0\0\0{"])
def test_an_endless_body_that_begins_as_one_has_an_end(
    site: Site, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_UNSAID_BYTES", 3_000_000)
    site.always = drips(OK + b"Connection: close\r\n\r\n" + content, bytes(100_000), 0)
    assert error_text(CheckpointError, lambda: open_remote(site.url("file"))).startswith(
        f"{site.url('file')} does not end\n"
        "  expected: a length, or at most 3.0 MB where the server does not say one\n"
        "  found: 30"
    )
    assert not list(tmp_path.glob("cache/downloads/*"))


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (b"X-A: " + b"x" * 70_000, "of headers|broke off"),
        (b"\r\n".join(b"X-%d: %s" % (number, b"x" * 5_000) for number in range(14)), "of headers"),
        (b"\r\n".join(b"X-%d: x" % number for number in range(20_000)), "of headers|broke off"),
    ],
    ids=["one", "few", "many"],
)
def test_headers_have_a_size(site: Site, headers: bytes, reason: str) -> None:
    def step(handler: Handler) -> bool:
        handler.close_connection = True
        handler.wfile.write(OK + headers + b"\r\nContent-Length: 1\r\n\r\nx")
        return True

    site.always = step
    with pytest.raises(CheckpointError, match=reason):
        fetch_whole(Address.of(site.url("file")), 1000)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "identity, br"])
@pytest.mark.parametrize("read", [small, ranges, whole])
def test_what_comes_packed_is_not_unpacked(
    site: Site, tmp_path: Path, encoding: str, read: Callable[[Site, Path], object]
) -> None:
    packed = gzip.compress(bytes(10_000_000))
    site.always = status(200, packed, Content_Encoding=encoding)
    assert error_text(CheckpointError, lambda: read(site, tmp_path)) == (
        f"{site.url('file')} could not be read: the server sends it packed ({encoding.lower()}), "
        "which was not asked for\n"
        "  try: download the file, and give its path"
    )
    assert site.asked("accept-encoding") == ["identity"]


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", "aws-chunked"])
def test_what_comes_as_it_is_may_say_so(site: Site, encoding: str) -> None:
    site.always = status(200, b"the bytes", Content_Encoding=encoding)
    assert fetch_whole(Address.of(site.url("file")), 1000)[0] == b"the bytes"


@pytest.mark.parametrize("etag", ['"\xe9"', '"' + "x" * 5000 + '"', '"\x1b[31m"'])
def test_an_etag_that_is_none_is_not_sent_back(site: Site, etag: str) -> None:
    head = f"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\nETag: {etag}\r\n\r\n"

    def step(handler: Handler) -> bool:
        handler.wfile.write(head.encode("latin-1") + b"x")
        return True

    site.always = step
    with suppress(CheckpointError):  # some clients refuse such a header themselves
        remote = HttpRanges(Address.of(site.url("file")), 1)
        assert not remote.tells_versions
        assert b"".join(remote.stream(0, 1)) == b"x"
    assert not any(site.asked("if-match"))


UNSOUND = (
    *("a/../b", "a/./b", "..", "a/%2e%2e/b", "a/%2E./b", "a/..%2fb", "a%2F..", "..;/b", "a/..\\b", "a\\b", "%5cb"),
    *("a\0b", "a%00b", "a\nb", "a%0d%0aHost:x", "a\tb", "\x7f"),
)


@pytest.mark.parametrize("path", UNSOUND)
def test_an_address_that_can_be_read_in_two_ways_is_not_asked_for(site: Site, path: str) -> None:
    site.always = status(200, DATA)
    for source in (site.url(path), site.url(f"{path}/"), f"memory://bucket/{path}", f"hf://owner/repo/{path}"):
        with pytest.raises(CheckpointError) as caught:
            open_remote(source)
        assert "is not a sound address\n  expected: no '.' or '..' between slashes" in str(caught.value), source
    assert site.requests == []


def test_dots_that_are_no_steps_are_sound() -> None:
    for url in ("https://x.org/a..b/..c/d../...", "https://x.org/a?next=../b", "https://x.org/a b.pth", "s3://x/日本"):
        check_sound(url)


@pytest.mark.parametrize("path", ["/a/%2e%2e/b", "/a\\b", "http:\\\\evil.example\\b", "/%00"])
def test_nor_is_one_that_a_server_leads_to(site: Site, path: str) -> None:
    site.script = [dated(302, {"Location": path})]
    with pytest.raises(CheckpointError, match="is not a sound address"):
        fetch_whole(Address.of(site.url("file")), 1000)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        *(("127.0.0.1", True), ("localhost", True), ("10.1.2.3", True), ("192.168.0.1", True), ("[::1]", True)),
        *(("169.254.169.254", True), ("[fd00::1]", True), ("[::ffff:10.0.0.1]", True), ("0", True)),
        *(("2130706433", True), ("0x7f.1", True), ("100.64.0.1", True), ("user:pw@127.0.0.1:80", True)),
        *(("8.8.8.8", False), ("[2606:4700::1111]", False), ("127.0.0.1@8.8.8.8", False), ("no such host", False)),
    ],
)
def test_what_is_inside(host: str, inside: bool) -> None:
    assert is_inside(f"http://{host}/file") is inside


def test_no_server_outside_leads_inside(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Site(files={"file": b"private"})) as private:
        monkeypatch.setattr(http, "is_inside", lambda url: url.startswith(private.base))
        site.script = [status(302, Location=private.url("file?key=secret"))]
        assert error_text(CheckpointError, lambda: fetch_whole(Address.of(site.url("start")), 1000)) == (
            f"{site.url('start')} leads to an address that is not followed\n"
            "  expected: an address that is open to all, as this one is\n"
            f"  found: a redirect to {private.url('file')}?…, on this machine or in its own network\n"
            "  likely cause: a server that is set up wrongly, or that would have this machine ask what it cannot reach "
            "itself\n"
            "  try: give the address that the file is really at"
        )
        assert private.requests == []
        site.script = [status(302, Location=site.url("file"))]
        assert fetch_whole(Address.of(site.url("start")), 10**7)[0] == DATA


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x.org/a", "data:,a", "gopher://x/", "javascript:1"])
def test_no_other_scheme_is_followed(site: Site, target: str) -> None:
    site.script = [status(302, Location=target)]
    with pytest.raises(CheckpointError, match="leads to an address that is not followed\n  expected: http or https"):
        fetch_whole(Address.of(site.url("file")), 1000)


class Store:
    """In the place of a store's package."""

    def __init__(self, info: dict[str, Any] | None = None, answers: Iterator[Any] | None = None) -> None:
        self._info, self._answers = info or {"size": len(DATA), "type": "file"}, answers or repeat(0)

    def info(self, path: str) -> dict[str, Any]:
        if self._info.get("hangs"):
            time.sleep(20 * SHORT)
        return self._info

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        answer = next(self._answers)
        if answer is None:
            time.sleep(20 * SHORT)
        return DATA[start : start + answer]


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (Store({"hangs": True, "size": 1}), "could not be read: it took more than 0 seconds"),
        (Store(answers=repeat(None)), "could not be read: it took more than 0 seconds\n  found: 2 tries"),
        (Store(answers=repeat(1)), r"could not be read: the store gives 1 bytes where \d+ were asked for\n  found: 6"),
        (Store({"size": "many"}), "has no size\n  found: 'many', as the store says"),
        (Store({"size": -1}), "has no size\n  found: -1, as the store says"),
        (Store({"size": 10**30}), "ends too early|could not be read|no room|changed while"),
    ],
)
def test_a_store_is_bounded_as_a_server_is(store: Store, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "STORE_SECONDS", SHORT)
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (store, "file"))
    with pytest.raises(CheckpointError, match=reason):
        open_remote("memory://bucket/file.pth").close()


def test_a_stopped_exchange_leaves_no_thread_behind(site: Site) -> None:
    before = set(threading.enumerate())
    site.files["file"] = bytes(30_000_000)
    with http.ask(Address.of(site.url("file")), {}, patience.Patience("file")) as response:
        next(iter(response.chunks()))
    for _ in range(100):
        if not any(thread.name == "dinoport-exchange" for thread in set(threading.enumerate()) - before):
            return
        time.sleep(0.02)
    pytest.fail("a thread is still there")
