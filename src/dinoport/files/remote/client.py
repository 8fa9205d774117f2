"""One HTTP request, through whichever client the installed huggingface_hub brings.

Its versions 0, 1 and 2 bring requests, httpx and httpx2. They differ in how a body is streamed and in what they raise;
the rest of this package sees neither. The client is the one that `huggingface_hub.get_session` gives, so a proxy or a
certificate that was set up there is used here too.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from types import TracebackType
from typing import Any

CHUNK_BYTES = 64 * 1024
"""What requests is asked for at a time. httpx gives what comes as it comes: asked for chunks of a size, it loses the
last, incomplete one when the connection breaks."""

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
"""How long a server may take to answer, and to send the next bytes."""


class BrokenConnectionError(Exception):
    """No answer, or one that broke off. `before_answer`: not a byte came; `useless`: another try cannot help."""

    def __init__(self, reason: str, *, before_answer: bool, useless: bool = False) -> None:
        super().__init__(reason)
        self.before_answer, self.useless = before_answer, useless


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
        """Yield the body as it was sent. Raises BrokenConnectionError where it breaks off."""
        failures = _failures()
        try:
            yield from self._body
        except failures as error:
            raise _broken(error, before_answer=False) from None

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()


def send(url: str, headers: Mapping[str, str]) -> Response:
    """GET `url`, following no redirect. Raises BrokenConnectionError where no answer comes."""
    from huggingface_hub import utils

    session: Any = utils.get_session()  # type: ignore[attr-defined]  # documented, and not in its __all__
    headers = {"accept-encoding": "identity", **headers}
    failures = _failures()
    files = ExitStack()
    try:
        if callable(session.stream):  # of requests it is a setting
            limits = (CONNECT_SECONDS, READ_SECONDS, READ_SECONDS, CONNECT_SECONDS)
            stream: AbstractContextManager[Any] = session.stream(
                "GET", url, headers=headers, follow_redirects=False, timeout=limits
            )
            response = files.enter_context(stream)
            return Response(response.status_code, response.headers, response.iter_raw(), files)
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
        return Response(response.status_code, {**response.headers, **moved}, body, files)
    except failures as error:
        files.close()
        raise _broken(error, before_answer=True) from None
    except ValueError:  # a host that cannot be looked up, by its letters or its length
        files.close()
        raise unsound_address() from None


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
    useless = any(isinstance(link, ssl.SSLCertVerificationError) for link in chain)
    if useless:
        reason = "its certificate is not trusted here"
    elif any(isinstance(link, socket.gaierror) for link in chain):
        reason = "its name is not known"
    elif any("Timeout" in type(link).__name__ for link in chain):
        reason = f"it did not answer within {READ_SECONDS:.0f} seconds"
    elif any(isinstance(link, ConnectionRefusedError) for link in chain):
        reason = "it refused the connection"
    else:
        reason = "the connection broke off"
    if type(error).__name__ in ("InvalidURL", "UnsupportedProtocol", "MissingSchema", "LocationParseError"):
        return unsound_address()
    return BrokenConnectionError(reason, before_answer=before_answer, useless=useless)
