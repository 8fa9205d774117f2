"""An HTTP server on this machine that behaves as well or as badly as a test wants, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_SUCH_FILE = b"<html>no such file</html>"


@dataclass
class Site:
    """What the server offers. Each entry of `script` is used up by one request, before the normal answer.

    An entry is a status (with headers), or a number of body bytes after which the connection breaks. What `always` does
    comes after that, for every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etags: bool = True
    script: list[Callable[[Handler], bool]] = field(default_factory=list)
    always: Callable[[Handler], bool] = lambda handler: False
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    base: str = ""

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    def asked(self, header: str) -> list[str | None]:
        """The values of one header, in the order of the requests."""
        return [headers.get(header) for _, headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.site.lock:
            self.site.requests.append((self.path, headers))
            step = self.site.script.pop(0) if self.site.script else None
        if (step is not None and step(self)) or self.site.always(self):
            return
        data = self.site.files.get(self.path.partition("?")[0].lstrip("/"))
        if data is None:
            self.answer(404, NO_SUCH_FILE)
            return
        self.serve(data, headers)

    def serve(self, data: bytes, headers: dict[str, str], *, break_after: int | None = None) -> None:
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"' if self.site.etags else None
        extra = {"ETag": etag} if etag else {}
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
        if headers.get("if-match") not in (None, etag):
            self.answer(412, b"")
            return
        if not self.site.ranges or found is None or headers.get("if-range") not in (None, etag):
            self.answer(200, data, extra, break_after=break_after)
            return
        start = int(found[1]) if found[1] else len(data) - int(found[2])
        stop = min(int(found[2]) + 1, len(data)) if found[1] and found[2] else len(data)
        if start >= len(data):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        extra["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self.answer(206, data[start:stop], extra, break_after=break_after)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, break_after: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        part = body if break_after is None else body[:break_after]
        with self.site.lock:
            self.site.sent_bytes += len(part)
        self.wfile.write(part)
        if break_after is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[Handler], bool]:
    """One answer with this status. Header names are written with `_` for `-`."""

    def step(handler: Handler) -> bool:
        handler.answer(code, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return step


def breaks_after(count: int) -> Callable[[Handler], bool]:
    """One answer as it should be, whose connection breaks after `count` bytes of the body."""

    def step(handler: Handler) -> bool:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        handler.serve(handler.site.files[handler.path.lstrip("/")], headers, break_after=count)
        return True

    return step


def endless(handler: Handler) -> bool:
    """The range that was asked for, and more without end, until the client goes away."""
    name = handler.path.lstrip("/")
    data = handler.site.files[name]
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers["range"])
    start = int(found[1]) if found else 0
    handler.close_connection = True
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.send_header("ETag", f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"')
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(data[start:])
    with suppress(OSError):
        while True:
            handler.wfile.write(bytes(64 * 1024))
            handler.site.sent_bytes += 64 * 1024
    return True


def _endlessly(handler: Handler) -> bool:
    """Send until nobody listens any more."""
    with suppress(OSError):
        while True:
            handler.wfile.write(bytes(64 * 1024))
    return True


def endless_body(length: str) -> Callable[[Handler], bool]:
    """A whole file without end, of which a length may be said."""

    def step(handler: Handler) -> bool:
        handler.close_connection = True
        handler.send_response(200)
        if length:
            handler.send_header("Content-Length", length)
        handler.send_header("Connection", "close")
        handler.end_headers()
        return _endlessly(handler)

    return step


def endless_redirect(location: str) -> Callable[[Handler], bool]:
    """A redirect whose body has no end."""

    def step(handler: Handler) -> bool:
        handler.close_connection = True
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.send_header("Connection", "close")
        handler.end_headers()
        return _endlessly(handler)

    return step


def then(action: Callable[[], object]) -> Callable[[Handler], bool]:
    """Do something, then answer as always."""

    def step(handler: Handler) -> bool:
        action()
        return False

    return step


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is not worth a traceback."""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    server = Server(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.base = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
