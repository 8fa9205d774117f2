"""Redirects, refusals, and addresses with secrets in them."""

import base64
import socket

import pytest

from dinoport.errors import CheckpointError
from dinoport.files.address import Address
from dinoport.files.remote import http
from dinoport.files.remote.client import Response
from dinoport.files.remote.http import RefusedError, ask, content_length, content_range, fetch_whole
from dinoport.files.remote.patience import Patience
from dinoport.shown.address import scheme_of, shown_address
from tests.error_text import error_text
from tests.http_server import Site, breaks_after, endless_body, endless_redirect, serving, status


def body(address: Address) -> bytes:
    with ask(address, {}, Patience(address.shown)) as response:
        return b"".join(response.chunks())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:pass@host.org/a/b.pth?sig=secret#part", "https://host.org/a/b.pth?…"),
        ("http://127.0.0.1:80/x", "http://127.0.0.1:80/x"),
        ("hf://me:pw@x?token=secret", "hf://x?…"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("https://me:pw@[bad/x?sig=secret", "https://[bad/x?…"),
        ("simplecache::s3://me:pw@bucket/key", "simplecache::…"),
        ("zip://a.pth::s3://me:pw@bucket/key", "zip://a.pth::…"),
        ("/relative?sig=secret", "/relative"),
    ],
)
def test_no_secret_of_an_address_is_shown(url: str, expected: str) -> None:
    assert shown_address(url) == expected
    assert "secret" not in repr(Address.of(url))


def test_what_is_an_address() -> None:
    assert scheme_of("HTTPS://x/y") == "https"
    assert scheme_of("s3://bucket/key") == "s3"
    assert scheme_of("C://folder") is None
    assert scheme_of("runs/checkpoint.pth") is None
    assert scheme_of("dino_vits16") is None


def test_redirects_are_followed_and_headers_stay_with_their_host(site: Site) -> None:
    with serving(Site(files={"file": b"the bytes"})) as other:
        site.script = [status(302, Location="/moved"), status(307, Location=other.url("file"))]
        assert body(Address(site.url("start"), "start", {"authorization": "Bearer secret"})) == b"the bytes"
        assert site.asked("authorization") == ["Bearer secret", "Bearer secret"]
        assert other.asked("authorization") == [None]


def test_the_password_of_an_address_goes_to_its_host_and_nowhere_else(site: Site) -> None:
    with serving(Site(files={"file": b"the bytes"})) as other:
        site.script = [status(302, Location="/moved"), status(302, Location=other.url("file"))]
        address = Address.of(site.url("start").replace("http://", "http://user:s3cret@"))
        assert body(address) == b"the bytes"
        assert address.shown == site.url("start")
        basic = f"Basic {base64.b64encode(b'user:s3cret').decode()}"
        assert site.asked("authorization") == [basic, basic]
        assert other.asked("authorization") == [None]


def test_a_redirect_from_https_to_http_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import ExitStack

    moved = Response(302, {"Location": "http://elsewhere.org/file?sig=secret"}, iter(()), ExitStack())
    monkeypatch.setattr(http, "send", lambda url, headers: moved)
    assert error_text(CheckpointError, lambda: body(Address.of("https://host.org/file"))) == (
        "https://host.org/file leads to an address that is not followed\n"
        "  expected: https all the way\n"
        "  found: a redirect to http://elsewhere.org/file?…\n"
        "  likely cause: a server that is set up wrongly, or someone on the way who would like to change the file\n"
        "  try: give the address that the file is really at"
    )


@pytest.mark.parametrize("url", ["http://[bad/x", "http://a..b/x", f"http://{'a' * 300}.org/x"])
def test_an_address_that_is_not_sound(url: str) -> None:
    assert error_text(CheckpointError, lambda: body(Address.of(url))) == (
        f"{url} could not be read: the address is not sound\n"
        "  try: check the network and the address, or fetch the file elsewhere and give its path"
    )


def test_a_redirect_to_an_address_that_is_not_sound(site: Site) -> None:
    site.script = [status(302, Location="http://[bad")]
    assert error_text(CheckpointError, lambda: body(Address.of(site.url("file")))) == (
        f"{site.url('file')} leads to an address that is not sound\n"
        "  likely cause: a server that is set up wrongly\n"
        "  try: give the address that the file is really at"
    )


@pytest.mark.parametrize("text", ["bytes 0-0/" + "9" * 5000, "bytes 0-0/²", "bytes " + "0" * 5000 + "-0/1"])
def test_a_range_that_no_file_has_is_not_read(text: str) -> None:
    from contextlib import ExitStack

    assert content_range(Response(206, {"Content-Range": text}, iter(()), ExitStack())) == (None, None)


@pytest.mark.parametrize(("text", "expected"), [("12", 12), ("²", None), ("9" * 5000, None), ("-1", None)])
def test_a_length_is_read_if_it_can_be_one(text: str, expected: int | None) -> None:
    from contextlib import ExitStack

    assert content_length(Response(200, {"Content-Length": text}, iter(()), ExitStack())) == expected


def test_the_body_of_a_redirect_is_not_read(site: Site) -> None:
    site.files["moved"] = b"the bytes"
    site.script = [endless_redirect("/moved")]
    assert body(Address.of(site.url("file"))) == b"the bytes"


def test_redirects_that_lead_in_a_circle(site: Site) -> None:
    site.always = lambda handler: status(302, Location=f"{handler.path}x")(handler)
    assert error_text(CheckpointError, lambda: body(Address.of(site.url("file?sig=secret")))) == (
        f"{site.url('file')}?… leads from one address to the next without end\n"
        f"  found: 10 redirects, the last to {site.url('file')}?…\n"
        "  try: open the address in a browser, and give the one that it ends at"
    )
    assert len(site.requests) == 10


def test_a_small_file_that_breaks_off_is_asked_for_again(site: Site, waits: list[float]) -> None:
    site.files["file"] = b"the bytes of a small file"
    site.script = [breaks_after(4), status(503)]
    assert fetch_whole(Address.of(site.url("file")), 100)[0] == b"the bytes of a small file"
    assert waits == [0.5, 1.0]
    assert site.asked("range") == [None] * 3


@pytest.mark.parametrize("said", ["", "5"])
def test_a_small_file_without_end_is_left_at_its_limit(site: Site, said: str) -> None:
    site.script = [endless_body(said)]
    if said:
        assert fetch_whole(Address.of(site.url("file")), 100)[0] == bytes(5)
        return
    with pytest.raises(CheckpointError, match="more than the 100 bytes that are sound"):
        fetch_whole(Address.of(site.url("file")), 100)


def test_an_answer_that_is_no_file(site: Site) -> None:
    site.script = [status(206, b"part", Content_Range="bytes 0-3/9")]
    assert error_text(CheckpointError, lambda: fetch_whole(Address.of(site.url("file")), 100)) == (
        f"{site.url('file')} could not be read: the server answers 206\n  try: try again later"
    )


def test_redirects_without_end(site: Site) -> None:
    site.script = [status(302, Location="/round") for _ in range(10)]
    with pytest.raises(CheckpointError, match="10 redirects, the last to"):
        body(Address.of(site.url("round")))
    assert len(site.requests) == 10


def test_a_refusal_carries_its_advice(site: Site) -> None:
    site.script = [status(403, b"<html>no</html>")]
    with pytest.raises(RefusedError) as caught:
        body(Address(site.url("file"), "hf://owner/repo/file", advice="hf auth login"))
    assert caught.value.status == 403
    assert str(caught.value) == (
        "hf://owner/repo/file is refused\n"
        "  found: HTTP status 403\n"
        "  likely cause: the file is private or gated, or the address has expired\n"
        "  try: hf auth login"
    )


def test_a_server_that_is_not_there(waits: list[float]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://user:pass@127.0.0.1:{unused.getsockname()[1]}/file?sig=secret"
        with pytest.raises(CheckpointError) as caught:
            body(Address.of(url))
    assert str(caught.value) == (
        f"{shown_address(url)} could not be read: it refused the connection\n"
        "  found: 3 tries in a row failed\n"
        "  try: check the network and the address, or fetch the file elsewhere and give its path"
    )
    assert "secret" not in shown_address(url)
    assert caught.value.__cause__ is None
    assert len(waits) == 2


def test_offline_nothing_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert error_text(CheckpointError, lambda: body(Address.of(site.url("file")))) == (
        f"{site.url('file')} was not fetched: HF_HUB_OFFLINE is set\n"
        "  try: unset HF_HUB_OFFLINE, or fetch the file elsewhere and give its path"
    )
    assert site.requests == []
