"""The one guarded HTTP client for everything that is not a stream of checks.

Every address is judged at connect time; one deadline covers the whole exchange,
DNS included; the body that is read is bounded; no redirect is followed.
"""

import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity

from . import connections
from .connections import CA_FILE, Connection, NoAnswer, Place
from .deadlines import deadline
from .policy import OPERATORS, Policy, Refused

__all__ = ["CA_FILE", "USER_AGENT", "Request", "RequestFailed", "Response", "send"]

USER_AGENT = "Tocsin/0.1"
# Who sends it may be asked the same twice: the other side can tell.
KEY: Final = "Idempotency-Key"


class RequestFailed(Exception):
    """No answer came; the message says why, in words fit to be shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One HTTP request. `timeout` is the deadline of the whole, in seconds.

    `redirects` are for checks: a message goes where it was sent.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout: float = 10.0
    redirects: int = 0
    most_bytes: int = 1 << 20
    policy: Policy = OPERATORS


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """`latency_ms` is the time from the start to the end, and `phases` its parts:
    how many milliseconds dns, connect, tls, first_byte and transfer took.

    Header names are in lower case. `expires_at` is when the certificate ends, in
    seconds since 1970, where it was asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_ms: float
    phases: Mapping[str, float]
    expires_at: int | None = None


class _Exchange:
    """One request on its way; the deadline cuts it, however slowly the answer drips.

    One that carries an Idempotency-Key may go over a connection that was kept, and
    once more over a new one if the kept one turns out to be closed.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._until = time.monotonic() + request.timeout
        self._used: list[Connection] = []
        self._is_cut = self._is_read = False
        self._address = address = _read(request.url)
        self._place = Place(address.scheme, address.host, address.port, request.policy)
        self._is_repeatable = KEY in request.headers
        self._headers = _checked(request, address, self._is_repeatable)

    def cut(self) -> None:
        self._is_cut = True
        for one in self._used:
            one.cut()

    def ask(self) -> HTTPResponse:
        if self._is_repeatable and (one := connections.kept.take(self._place)):
            # The other side has closed it since: that tells nothing of the message.
            with suppress(NoAnswer):
                return self._ask(one)
            self._left()
        return self._ask(connections.connect(self._place, self._until))

    def _ask(self, one: Connection) -> HTTPResponse:
        self._used.append(one)
        # Only now it can be cut: had that been due before, it is seen here.
        one.prepare(self._left())
        method, target = self._request.method, self._address.target
        body = self._request.body or None
        return one.ask(method, target, body=body, headers=self._headers)

    def _left(self) -> float:
        """The seconds until the deadline."""
        if (left := self._until - time.monotonic()) <= 0:
            raise TimeoutError("no time is left")
        return left

    def read(self, answer: HTTPResponse) -> bytes:
        """Return as much of the body as is wanted; all of it if there is no more."""
        most, coding = self._request.most_bytes, answer.headers.get("content-encoding")
        with answer:
            body = answer.read(most)
            # After what is not the last word, such as 102, that is still to come.
            self._is_read = answer.isclosed() and answer.status >= 200
        if answer.length and len(body) < most:
            raise IncompleteRead(body, answer.length)
        return _decoded(body, coding or "", most)

    def end(self) -> None:
        """Keep the connection if it can carry another request."""
        if self._is_read and self._is_repeatable and not self._is_cut:
            connections.kept.keep(self._used.pop())

    def leave(self) -> None:
        for one in self._used:
            one.close()


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int
    target: str
    # Of a name and password in it.
    authorization: str


@lru_cache(maxsize=1024)
def _read(url: str) -> _Address:
    """Read an address as requests does, which takes as long as an exchange."""
    read = requests.Request("GET", url).prepare()
    parts = urlsplit(str(read.url))
    if parts.scheme not in ("http", "https"):
        raise requests.exceptions.InvalidSchema("The address is not http or https")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    said = read.headers.get("Authorization", "")
    return _Address(parts.scheme, parts.hostname or "", port, read.path_url, said)


def _checked(request: Request, address: _Address, is_kept: bool) -> Mapping[str, str]:
    """Return the headers; none may end its line and begin another."""
    headers = CaseInsensitiveDict({"User-Agent": USER_AGENT})
    headers.update(request.headers)
    if address.authorization:
        headers["Authorization"] = address.authorization
    if not is_kept:
        headers["Connection"] = "close"
    for header in headers.items():
        check_header_validity(header)
    return headers


def _decoded(body: bytes, coding: str, most: int) -> bytes:
    """Unpack what is packed though nobody has asked for that, no more than wanted."""
    if coding.lower() not in ("gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, most)
    except zlib.error as error:
        raise ValueError("The answer cannot be unpacked") from error


def _headers(answer: HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in answer.headers.items():
        low = name.lower()
        found[low] = f"{found[low]}, {value}" if low in found else value
    return found


def send(request: Request) -> Response:
    """Make the request and return the answer, whatever its status.

    Raises RequestFailed if none came within the deadline.
    """
    started = time.monotonic()
    try:
        return _exchanged(request, started)
    except (requests.RequestException, HTTPException, OSError, ValueError) as error:
        if time.monotonic() - started >= request.timeout:
            raise RequestFailed(f"No answer within {request.timeout:g} s") from None
        raise RequestFailed(_reason(error)) from error


def _exchanged(request: Request, started: float) -> Response:
    exchange = _Exchange(request)
    try:
        with deadline(request.timeout, exchange.cut):
            answer = exchange.ask()
            first_byte = time.monotonic()
            body = exchange.read(answer)
        ended = time.monotonic()
        if ended - started >= request.timeout:
            raise TimeoutError("the answer came too late")
        exchange.end()
    finally:
        exchange.leave()
    return Response(
        status=answer.status,
        headers=_headers(answer),
        body=body,
        latency_ms=(ended - started) * 1000,
        phases={
            "first_byte": (first_byte - started) * 1000,
            "transfer": (ended - first_byte) * 1000,
        },
    )


_ENDED: Final[dict[type[Exception], str]] = {
    NoAnswer: "The connection was closed without an answer",
    IncompleteRead: "The connection was closed in the middle of the answer",
}


def _reason(error: BaseException) -> str:
    """Say in one line why a request failed."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Refused):
            return f"Refused: {seen}"
        if isinstance(seen, ConnectionRefusedError):
            return "Connection refused"
        if isinstance(seen, socket.gaierror):
            return f"The name could not be resolved: {seen.strerror}"
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"The certificate is not trusted: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return f"TLS failed: {seen.reason}"
        if isinstance(seen, NoAnswer | IncompleteRead):
            return _ENDED[type(seen)]
        if isinstance(seen, TimeoutError):
            return f"Not in time: {seen}"
        if isinstance(seen, OSError) and seen.strerror:
            return f"No connection: {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    # Not its text: the whole address may be in it, and that is a secret.
    return type(error).__name__
