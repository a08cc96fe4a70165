"""The one guarded HTTP client for everything that is not a stream of checks.

Every address is judged at connect time, also after a redirect; one deadline
covers the whole exchange, DNS included; the body that is read is bounded.
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from .deadlines import deadline
from .policy import OPERATORS, Policy, Refused

USER_AGENT = "Tocsin/0.1"
# The system's store where there is one: operators add their own authorities to it.
_SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
# As OpenSSL and curl have it, SSL_CERT_FILE names another.
CA_FILE = os.environ.get("SSL_CERT_FILE") or (
    _SYSTEM_CA if os.path.exists(_SYSTEM_CA) else certifi.where()
)


class RequestFailed(Exception):
    """No answer came; the message says why, in words fit to be shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One HTTP request. `timeout` is the deadline of the whole, in seconds."""

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


class _Exchange(threading.local):
    """What the connections made on this thread have to respect."""

    deadline = 0.0
    policy = OPERATORS
    sock: socket.socket | None = None


_exchange = _Exchange()
_resolver = ThreadPoolExecutor(max_workers=32, thread_name_prefix="resolve")


def _numbered(host: str, port: int) -> tuple[Any, ...] | None:
    """Read a host that is an address itself: to ask for it takes time."""
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family, socket.SOCK_STREAM, 0, "", (host, port, *rest)
    return None


def _resolve(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Return the addresses of a host, within the deadline."""
    if numbered := _numbered(host, port):
        return [numbered]
    future = _resolver.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        return future.result(timeout=max(0.0, _exchange.deadline - time.monotonic()))
    except FutureTimeout:
        future.cancel()
        raise TimeoutError(f"the name {host} was not resolved in time") from None


def _connect(host: str, port: int) -> socket.socket:
    """Return a socket connected within the deadline to an address that may be asked."""
    found = _resolve(host, port)
    error: OSError = OSError(f"the name {host} has no address")
    for family, kind, protocol, _, address in found:
        sock = None
        try:
            _exchange.policy.judge(str(address[0]))
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(max(0.001, _exchange.deadline - time.monotonic()))
            sock.connect(address)
        except OSError as failure:
            if sock is not None:
                sock.close()
            error = failure
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _exchange.sock is not None:
                _exchange.sock.close()  # that of before a redirect
            # TLS takes the original away; the duplicate can still cut it off.
            _exchange.sock = sock.dup()
            return sock
    raise error


class _Guarded:
    """Connects through `_connect`; mixed into urllib3's connections."""

    def _new_conn(self) -> socket.socket:
        try:
            return _connect(self._dns_host, self.port)  # type: ignore[attr-defined]
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]


class _Connection(_Guarded, HTTPConnection): ...


class _TLSConnection(_Guarded, HTTPSConnection): ...


class _Unshared:
    """Uses each connection once; mixed into urllib3's pools.

    One that is used again would be judged by nobody and cut off at no deadline,
    and servers that close it just then make a request fail.
    """

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.close()


class _Pool(_Unshared, HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(_Unshared, HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    """Shares one SSLContext: reading the authorities anew costs 25 ms a connection."""

    context = ssl.create_default_context(cafile=CA_FILE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        self.poolmanager = PoolManager(num_pools=8, ssl_context=self.context)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        unshared = {"ca_certs", "ca_cert_dir"}
        shared = {name: value for name, value in pool.items() if name not in unshared}
        return host, shared | {"ssl_context": self.context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


_session = requests.Session()
_session.trust_env = False  # proxies and .netrc are not for strangers' addresses
_session.max_redirects = 5
_session.headers = {"User-Agent": USER_AGENT, "Connection": "close"}
_session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
_session.mount("http://", _Adapter())
_session.mount("https://", _Adapter())


@contextmanager
def _deadline(request: Request) -> Iterator[None]:
    """Cut the connection at the deadline, however slowly the other side drips."""
    _exchange.deadline = time.monotonic() + request.timeout
    _exchange.policy, _exchange.sock = request.policy, None
    state = _exchange.__dict__

    def cut() -> None:
        if sock := state.get("sock"):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    try:
        with deadline(request.timeout, cut):
            yield
    finally:
        if sock := state.pop("sock", None):
            sock.close()


def send(request: Request) -> Response:
    """Make the request and return the answer, whatever its status.

    Raises RequestFailed if none came within the deadline.
    """
    started = time.monotonic()
    with _deadline(request):
        try:
            answer = _ask(request)
            first_byte = time.monotonic()
            with answer:
                body = answer.raw.read(request.most_bytes, decode_content=True)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            if time.monotonic() - started >= request.timeout:
                raise RequestFailed(f"No answer within {request.timeout:g} s") from None
            raise RequestFailed(_reason(error)) from error
        ended = time.monotonic()
        if ended - started >= request.timeout:
            raise RequestFailed(f"No answer within {request.timeout:g} s")
    return Response(
        status=answer.status_code,
        headers={name.lower(): value for name, value in answer.headers.items()},
        body=body,
        latency_ms=(ended - started) * 1000,
        phases={
            "first_byte": (first_byte - started) * 1000,
            "transfer": (ended - first_byte) * 1000,
        },
    )


def _ask(request: Request) -> requests.Response:
    asked = requests.Request(
        request.method,
        request.url,
        headers={**_session.headers, **request.headers},
        data=request.body or None,
    ).prepare()
    kept: dict[str, Any] = {"timeout": request.timeout, "stream": True}
    if request.redirects:
        return _session.send(asked, **kept, allow_redirects=True)
    # Without redirects there is nothing for a session to do, which costs time.
    return _session.get_adapter(request.url).send(asked, **kept)


def _reason(error: BaseException) -> str:
    """Say in one line why a request failed, leaving out whose pool it was."""
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
        if isinstance(seen, requests.TooManyRedirects):
            return "Too many redirects"
        if isinstance(seen, TimeoutError):
            return f"Not in time: {seen}"
        if isinstance(seen, OSError) and seen.strerror:
            return f"No connection: {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    # Not its text: urllib3 puts the whole address in it, and that is a secret.
    return type(error).__name__
