"""One HTTP request, through whichever client the installed huggingface_hub brings.

Its versions 0, 1 and 2 bring requests, httpx and httpx2. They differ in how a body is streamed and in what they raise;
the rest of this package sees neither. The client is the one that `huggingface_hub.get_session` gives, so a proxy or a
certificate that was set up there is used here too.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, TypeVar

from dinoport.progress import aside

T = TypeVar("T")

CHUNK_BYTES = 64 * 1024
"""What requests is asked for at a time. httpx gives what comes as it comes: asked for chunks of a size, it loses the
last, incomplete one when the connection breaks."""

CHUNKS_AHEAD = 8
"""How many may wait for whoever reads them."""

CONNECT_SECONDS, READ_SECONDS = 10.0, 15.0
"""What a client is told. It bounds each step and each read alone, which is not enough."""

ANSWER_SECONDS = 15.0
"""From a request to the end of the answer's headers: looking up the name, connecting and all reads together."""

SLOWEST_BYTES_PER_SECOND = 1000
WINDOW_SECONDS = 15.0
"""A body has to bring so much in each window of this length. Only the time that is spent waiting for it counts."""

MAX_HEADER_BYTES = 64 * 1024
"""Of an answer; signed addresses in redirects take two thousand bytes. Clients have limits too, each its own."""


class BrokenConnectionError(Exception):
    """No answer, or one that broke off.

    `before_answer`: not a byte came; `useless`: another try cannot help; `slow`: one more try is enough.
    """

    def __init__(self, reason: str, *, before_answer: bool, useless: bool = False, slow: bool = False) -> None:
        super().__init__(reason)
        self.before_answer, self.useless, self.slow = before_answer, useless, slow


def unsound_address() -> BrokenConnectionError:
    """Of an address that no client can ask."""
    return BrokenConnectionError("the address is not sound", before_answer=True, useless=True)


class Response:
    """An answer whose body has not been read. Header names are in lower case. Use it as a context manager.

    `url` is where it came from in the end, `commit` what the Hub called the version of its repository on the way there.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: Iterator[bytes], files: ExitStack) -> None:
        self.status, self.url = status, ""
        self.commit: str | None = None
        self.headers = {name.lower(): value for name, value in headers.items()}
        self._body, self._files = body, files

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it was sent. Raises BrokenConnectionError where it breaks off, or comes too slowly."""
        failures = _failures()
        try:
            yield from self._body
        except failures as error:
            raise _broken(error, before_answer=False) from None

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()


def send(url: str, headers: Mapping[str, str]) -> Response:
    """GET `url`, following no redirect. Raises BrokenConnectionError where no answer comes, or one without end."""
    from huggingface_hub import utils

    session: Any = utils.get_session()  # type: ignore[attr-defined]  # documented, and not in its __all__
    headers = {"accept-encoding": "identity", **headers}
    failures = _failures()
    exchange = Exchange(lambda files: _asked(session, url, headers, files))
    try:
        status, received = exchange.head()
        if sum(len(name) + len(value) for name, value in received.items()) > MAX_HEADER_BYTES:
            reason = f"its answer has more than {MAX_HEADER_BYTES} bytes of headers"
            raise BrokenConnectionError(reason, before_answer=False, useless=True)
    except BaseException as error:
        exchange.stop()
        if isinstance(error, failures):
            raise _broken(error, before_answer=True) from None
        if isinstance(error, ValueError):  # a host that cannot be looked up, by its letters or its length
            raise unsound_address() from None
        raise
    files = ExitStack()
    files.callback(exchange.stop)
    return Response(status, received, exchange.body(), files)


class Exchange:
    """One request and its answer in a thread of their own, which is left behind where it takes too long."""

    def __init__(self, ask: Callable[[ExitStack], tuple[int, Mapping[str, str], Iterator[bytes]]]) -> None:
        """`ask` gives status, headers and body; what it puts on the stack is closed when the exchange is over."""
        self._arrived: Queue[Any] = Queue(CHUNKS_AHEAD)
        self._stopped = Event()
        Thread(target=self._work, args=(ask,), daemon=True, name="dinoport-exchange").start()

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers. Raises what `ask` raised, and BrokenConnectionError where neither comes in time."""
        try:
            found: tuple[int, Mapping[str, str]] = self._next(ANSWER_SECONDS)
        except Empty:
            reason = f"it did not answer within {ANSWER_SECONDS:.0f} seconds"
            raise BrokenConnectionError(reason, before_answer=True, slow=True) from None
        return found

    def body(self) -> Iterator[bytes]:
        """Yield the chunks of the body. Raises as `head` does."""
        waited, came = 0.0, 0
        while True:
            begun = time.monotonic()
            try:
                chunk = self._next(max(WINDOW_SECONDS - waited, 0.0))
            except Empty:
                chunk = b""
            waited += time.monotonic() - begun
            if chunk is None:
                return
            if chunk:
                came += len(chunk)
                yield chunk
            if waited < WINDOW_SECONDS:
                continue
            if came < SLOWEST_BYTES_PER_SECOND * WINDOW_SECONDS:
                reason = f"it sends fewer than {SLOWEST_BYTES_PER_SECOND} bytes a second"
                raise BrokenConnectionError(reason, before_answer=False, slow=True)
            waited, came = 0.0, 0

    def stop(self) -> None:
        """To be called at the end: what still arrives goes nowhere."""
        self._stopped.set()
        with suppress(Empty):
            while True:
                self._arrived.get_nowait()

    def _next(self, seconds: float) -> Any:
        found = self._arrived.get(timeout=seconds)
        if isinstance(found, Exception):
            raise found
        return found

    def _work(self, ask: Callable[[ExitStack], tuple[int, Mapping[str, str], Iterator[bytes]]]) -> None:
        with suppress(Exception), ExitStack() as files:
            try:
                status, headers, body = ask(files)
                self._arrived.put((status, headers))
                for chunk in body:
                    if self._stopped.is_set():
                        return
                    self._arrived.put(chunk)
                self._arrived.put(None)
            except Exception as error:
                self._arrived.put(error)


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a library's `call` gives, which has no bound of its own over all. Raises TimeoutError where it takes longer.

    The thread that it runs in is left behind then.
    """
    done = aside(call, "dinoport-within")
    if not wait([done], seconds).done:
        raise TimeoutError(f"more than {seconds:.0f} seconds")
    return done.result()


def _asked(
    session: Any, url: str, headers: Mapping[str, str], files: ExitStack
) -> tuple[int, Mapping[str, str], Iterator[bytes]]:
    """Status, headers and body of one answer, none of it decoded."""
    if callable(session.stream):  # of requests it is a setting
        limits = (CONNECT_SECONDS, READ_SECONDS, READ_SECONDS, CONNECT_SECONDS)
        stream: AbstractContextManager[Any] = session.stream(
            "GET", url, headers=headers, follow_redirects=False, timeout=limits
        )
        response = files.enter_context(stream)
        return response.status_code, response.headers, response.iter_raw()
    moved: dict[str, str] = {}

    def hide_redirect(response: Any, **options: Any) -> None:
        # Even told to follow none, requests reads a redirect's whole body, and looks at where it leads.
        moved.update({"location": response.headers.pop("location")} if "location" in response.headers else {})

    response = session.get(
        url,
        headers=headers,
        allow_redirects=False,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        stream=True,
        hooks={"response": hide_redirect},
    )
    files.enter_context(closing(response))
    body = iter(lambda: response.raw.read(CHUNK_BYTES, decode_content=False), b"")
    return response.status_code, {**response.headers, **moved}, body


def _failures() -> tuple[type[Exception], ...]:
    """What the clients that are loaded raise."""
    found: list[type[Exception]] = [OSError]
    for name, kinds in (
        ("httpx2", ("HTTPError", "InvalidURL", "StreamError")),
        ("httpx", ("HTTPError", "InvalidURL", "StreamError")),
        ("requests", ("RequestException",)),
        ("urllib3.exceptions", ("HTTPError",)),
    ):
        found += [getattr(sys.modules[name], kind) for kind in kinds] if name in sys.modules else []
    return tuple(found)


def _broken(error: Exception, *, before_answer: bool) -> BrokenConnectionError:
    """Say why in words of our own: a client's message may hold the whole URL."""
    chain: list[BaseException] = [error]
    for link in chain:  # which grows
        linked = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        chain += [cause for cause in linked if isinstance(cause, BaseException) and cause not in chain]
    useless, slow = any(isinstance(link, ssl.SSLCertVerificationError) for link in chain), False
    if useless:
        reason = "its certificate is not trusted here"
    elif any(isinstance(link, socket.gaierror) for link in chain):
        reason = "its name is not known"
    elif any("Timeout" in type(link).__name__ for link in chain):
        reason, slow = f"it sent nothing for {READ_SECONDS:.0f} seconds", True
    elif any(isinstance(link, ConnectionRefusedError) for link in chain):
        reason = "it refused the connection"
    else:
        reason = "the connection broke off"
    if type(error).__name__ in ("InvalidURL", "UnsupportedProtocol", "MissingSchema", "LocationParseError"):
        return unsound_address()
    return BrokenConnectionError(reason, before_answer=before_answer, useless=useless, slow=slow)
