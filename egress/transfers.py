"""Many HTTP transfers at once in the calling thread, by libcurl's multi interface.

A new connection each, one deadline over the whole of it, DNS included. What it
costs over the bare loop is measured in bench/.
"""

import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl

from .client import CA_FILE, USER_AGENT, Request, RequestFailed, Response
from .policy import Refused

Answer = Response | RequestFailed
Done = Callable[[Answer], None]

# libcurl's own words are for programmers; these are for whoever reads the page.
_WORDS = {
    pycurl.E_COULDNT_RESOLVE_HOST: "The name could not be resolved",
    pycurl.E_PEER_FAILED_VERIFICATION: "The certificate is not trusted",
    pycurl.E_SSL_CONNECT_ERROR: "TLS failed",
    pycurl.E_GOT_NOTHING: "The connection was closed without an answer",
    pycurl.E_RECV_ERROR: "The connection was reset",
    pycurl.E_TOO_MANY_REDIRECTS: "Too many redirects",
    pycurl.E_UNSUPPORTED_PROTOCOL: "The address is not http or https",
    pycurl.E_URL_MALFORMAT: "The address cannot be read",
}
_METHODS_WITHOUT_BODY = {"HEAD"}


# Reading a chain costs as much as half an exchange, and certificates last: of
# each origin it is read so often only, in seconds.
CERTIFICATES_EVERY = 600.0
_MOST_ORIGINS = 20_000
_read_at: dict[str, float] = {}


def _reads_certificate(url: str) -> bool:
    """Whether it is time to look at the certificate behind an address again."""
    if not url.startswith("https:"):
        return False
    origin = url[: url.find("/", 8)] if "/" in url[8:] else url
    now = time.monotonic()
    if now - _read_at.get(origin, -CERTIFICATES_EVERY) < CERTIFICATES_EVERY:
        return False
    if len(_read_at) >= _MOST_ORIGINS:
        _read_at.clear()
    _read_at[origin] = now
    return True


def _expiry(chain: list[tuple[tuple[str, str], ...]]) -> int | None:
    """Return when the first certificate of a chain ends, in seconds since 1970."""
    for name, value in chain[0] if chain else ():
        if name == "Expire date":
            with suppress(ValueError):
                return ssl.cert_time_to_seconds(value)
    return None


# Handles that wait to be used again; each keeps a few buffers.
_MOST_IDLE = 256

# What a handle is set up for; the rest is set for each transfer.
_Shape = tuple[str, bool, int, tuple[tuple[str, str], ...]]


def _shape(request: Request) -> _Shape:
    headers = tuple(request.headers.items())
    return request.method, bool(request.body), request.redirects, headers


class _Transfer:
    """One easy handle and what it has received; used again for its like.

    Setting a handle up costs as much as the exchange itself.
    """

    def __init__(self, shape: _Shape) -> None:
        self.shape = shape
        self.request: Request
        self.done: Done
        self.body = bytearray()
        self.headers: dict[str, str] = {}
        self.refused = ""
        self.full = False
        self.reads_certificate = False
        self.opened: socket.socket | None = None
        self.curl = self._handle()

    def prepare(self, request: Request, done: Done) -> None:
        self.request, self.done = request, done
        self.body, self.headers = bytearray(), {}
        self.refused, self.full = "", False
        self.reads_certificate = _reads_certificate(request.url)
        curl, deadline = self.curl, max(1, int(request.timeout * 1000))
        curl.setopt(pycurl.URL, request.url.encode())
        curl.setopt(pycurl.OPT_CERTINFO, self.reads_certificate)
        curl.setopt(pycurl.TIMEOUT_MS, deadline)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, deadline)
        if request.body:
            curl.setopt(pycurl.POSTFIELDS, request.body)
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)

    def _handle(self) -> Any:
        curl, (method, _, redirects, given) = pycurl.Curl(), self.shape
        curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.NOBODY, method in _METHODS_WITHOUT_BODY)
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **dict(given)}
        lines = [f"{name}: {value}".encode() for name, value in headers.items()]
        curl.setopt(pycurl.HTTPHEADER, lines)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.CAINFO, CA_FILE)
        # A session resumed would hide that the certificate has changed or ended.
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.ACCEPT_ENCODING, "")
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, redirects > 0)
        curl.setopt(pycurl.MAXREDIRS, redirects)
        curl.setopt(pycurl.FRESH_CONNECT, 1)
        curl.setopt(pycurl.FORBID_REUSE, 1)
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        curl.setopt(pycurl.SOCKOPTFUNCTION, self._close_original)
        return curl

    def _open(self, purpose: int, address: Any) -> Any:
        family, kind, protocol, target = address
        try:
            self.request.policy.judge(target[0])
        except Refused as refused:
            self.refused = str(refused)
            return pycurl.SOCKET_BAD
        self.opened = socket.socket(family, kind, protocol)
        return self.opened

    def _close_original(self, *args: Any) -> int:
        """Close the socket that libcurl has just been given a duplicate of."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None
        return pycurl.SOCKOPT_OK

    def _write(self, data: bytes) -> int | None:
        room = self.request.most_bytes - len(self.body)
        self.body += data[:room]
        if len(data) <= room:
            return None
        self.full = True  # enough is known; stop reading
        return 0

    def _header(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self.headers.clear()  # a redirect's or an interim answer's are not it
        elif ":" in text and len(self.headers) < 200:
            name, _, value = text.partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def answer(self, code: int = 0, words: str = "") -> Answer:
        if code and not self.full:
            return RequestFailed(self._reason(code, words))
        info = self.curl.getinfo
        dns, connect = info(pycurl.NAMELOOKUP_TIME), info(pycurl.CONNECT_TIME)
        # Without TLS it is 0; each moment is no earlier than the one before.
        tls = max(connect, info(pycurl.APPCONNECT_TIME))
        first, end = info(pycurl.STARTTRANSFER_TIME), info(pycurl.TOTAL_TIME)
        phases = {"dns": dns * 1000, "connect": (connect - dns) * 1000}
        if tls > connect:
            phases["tls"] = (tls - connect) * 1000
        phases["first_byte"] = (first - tls) * 1000
        phases["transfer"] = (end - first) * 1000
        return Response(
            status=info(pycurl.RESPONSE_CODE),
            headers=self.headers,
            body=bytes(self.body),
            latency_ms=end * 1000,
            phases=phases,
            expires_at=_expiry(info(pycurl.INFO_CERTINFO))
            if self.reads_certificate
            else None,
        )

    def _reason(self, code: int, words: str) -> str:
        if self.refused:
            return f"Refused: {self.refused}"
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return f"No answer within {self.request.timeout:g} s"
        if code == pycurl.E_COULDNT_CONNECT:
            number = self.curl.getinfo(pycurl.OS_ERRNO)
            return os.strerror(number) if number else "No connection"
        return _WORDS.get(code, words or f"libcurl error {code}")[:300]


class Transfers:
    """Drives transfers; `run` is to be called again and again by one thread."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._poll = select.epoll()
        self._watched: set[int] = set()
        self._timer: float | None = None
        self._active: dict[Any, _Transfer] = {}
        self._idle: dict[_Shape, list[_Transfer]] = {}
        self._n_idle = 0

    def __len__(self) -> int:
        return len(self._active)

    def close(self) -> None:
        self._multi.close()
        self._poll.close()

    def watch(self, descriptor: int) -> None:
        """Make `run` return as soon as this descriptor can be read."""
        self._poll.register(descriptor, select.EPOLLIN)

    def start(self, request: Request, done: Done) -> None:
        """Begin a transfer; `done` is called from `run` with what became of it."""
        try:
            transfer = self._transfer(_shape(request))
            transfer.prepare(request, done)
        except (pycurl.error, UnicodeError, ValueError) as error:
            done(RequestFailed(f"The request cannot be made: {error}"[:300]))
            return
        self._active[transfer.curl] = transfer
        self._multi.add_handle(transfer.curl)

    def _transfer(self, shape: _Shape) -> _Transfer:
        if idle := self._idle.get(shape):
            self._n_idle -= 1
            return idle.pop()
        return _Transfer(shape)

    def _put_back(self, transfer: _Transfer) -> None:
        if self._n_idle >= _MOST_IDLE:
            # Whatever has been waiting may be of shapes nobody asks for now.
            for others in self._idle.values():
                for other in others:
                    other.curl.close()
            self._idle.clear()
            self._n_idle = 0
        self._idle.setdefault(transfer.shape, []).append(transfer)
        self._n_idle += 1

    def run(self, seconds: float) -> None:
        """Move all transfers on, for at most so long."""
        if self._timer is not None:
            seconds = min(seconds, max(0.0, self._timer - time.monotonic()))
        events = self._poll.poll(seconds)
        for descriptor, event in events:
            if descriptor in self._watched:
                self._multi.socket_action(descriptor, _curl_mask(event))
        if self._timer is not None and time.monotonic() >= self._timer:
            self._timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _collect(self) -> None:
        while True:
            left, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._finish(curl, 0, "")
            for curl, code, words in failed:
                self._finish(curl, code, words)
            if not left:
                return

    def _finish(self, curl: Any, code: int, words: str) -> None:
        transfer = self._active.pop(curl)
        self._multi.remove_handle(curl)
        answer = transfer.answer(code, words)
        done = transfer.done
        self._put_back(transfer)
        done(answer)

    def _on_timer(self, milliseconds: int) -> None:
        self._timer = (
            None if milliseconds < 0 else time.monotonic() + milliseconds / 1000
        )

    def _on_socket(self, event: int, descriptor: int, multi: Any, data: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            if descriptor in self._watched:
                self._watched.discard(descriptor)
                with suppress(OSError):  # closed already, so gone from the poll set
                    self._poll.unregister(descriptor)
            return
        mask = (select.EPOLLIN if event & pycurl.POLL_IN else 0) | (
            select.EPOLLOUT if event & pycurl.POLL_OUT else 0
        )
        if descriptor in self._watched:
            try:
                self._poll.modify(descriptor, mask)
                return
            except FileNotFoundError:
                pass  # the number has been closed and used again
        self._watched.add(descriptor)
        try:
            self._poll.register(descriptor, mask)
        except FileExistsError:
            self._poll.modify(descriptor, mask)


def _curl_mask(event: int) -> int:
    return (
        (pycurl.CSELECT_IN if event & select.EPOLLIN else 0)
        | (pycurl.CSELECT_OUT if event & select.EPOLLOUT else 0)
        | (pycurl.CSELECT_ERR if event & (select.EPOLLERR | select.EPOLLHUP) else 0)
    )


def fetch(request: Request) -> Response:
    """Make one request on the calling thread, as a scheduled check would.

    Raises RequestFailed if no answer came within the deadline.
    """
    answers: list[Answer] = []
    transfers = Transfers()
    transfers.start(request, answers.append)
    while not answers:
        transfers.run(1.0)
    transfers.close()
    if isinstance(answers[0], RequestFailed):
        raise answers[0]
    return answers[0]
