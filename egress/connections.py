"""Connections to addresses that were judged, and those kept a little while.

A kept one is to the very address that was judged when it was made. When it is
too old, its name is resolved anew, and what it means by then is judged.
"""

import os
import select
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any, Final, NamedTuple

import certifi

from .deadlines import later
from .policy import Policy

# The system's store where there is one: operators add their own authorities to it.
_SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
# As OpenSSL and curl have it, SSL_CERT_FILE names another.
CA_FILE = os.environ.get("SSL_CERT_FILE") or (
    _SYSTEM_CA if os.path.exists(_SYSTEM_CA) else certifi.where()
)
# One for all: reading the authorities anew costs 25 ms a connection.
CONTEXT: Final = ssl.create_default_context(cafile=CA_FILE)
CONTEXT.set_alpn_protocols(["http/1.1"])

# In seconds. Servers close what is idle, many after five.
MOST_IDLE: Final = 2.0
MOST_AGE: Final = 30.0
MOST_KEPT: Final = 64


class NoAnswer(ConnectionError):
    """The connection has ended before a single byte of an answer."""


class Place(NamedTuple):
    """Where a connection leads to, and by whose policy it was judged."""

    scheme: str
    host: str
    port: int
    policy: Policy


# One connection


class _Answer(HTTPResponse):
    """Tells no answer at all from one that breaks off."""

    def begin(self) -> None:
        if not self._has_begun():
            raise NoAnswer("The connection was closed without an answer")
        super().begin()

    def _has_begun(self) -> bool:
        try:
            return bool(self.fp.peek(1))
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False


class Connection:
    """One to an address that was judged; it never connects again by itself."""

    def __init__(self, place: Place, sock: socket.socket) -> None:
        self.place, self.is_used = place, False
        self.made_at = self.idle_since = time.monotonic()
        # TLS takes the original away; the duplicate can still cut it off.
        self._handle = sock.dup()
        self._http = _spoken(place)
        self._http.auto_open, self._http.response_class = 0, _Answer
        self._http.sock = sock

    def prepare(self, seconds: float) -> None:
        """Let no single step take longer, and begin TLS where it is asked for."""
        self._http.sock.settimeout(seconds)
        if self.place.scheme == "https" and not self.is_used:
            name = self.place.host.rstrip(".")
            self._http.sock = CONTEXT.wrap_socket(self._http.sock, server_hostname=name)

    def ask(self, method: str, target: str, **sent: Any) -> HTTPResponse:
        """Send a request; raise NoAnswer if the other side closes instead."""
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            # Whoever closes early may have said why.
            self._http.request(method, target, **sent)
        return self._http.getresponse()

    def cut(self) -> None:
        """Have whoever waits for it, on whatever thread, wait no longer."""
        with suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._handle.close()
        self._http.close()

    @property
    def is_open(self) -> bool:
        return self._http.sock is not None

    def is_fit(self) -> bool:
        """Whether it may be used once more: neither too old nor closed meanwhile."""
        now = time.monotonic()
        is_new = now - self.made_at < MOST_AGE and now - self.idle_since < MOST_IDLE
        return is_new and self._is_quiet()

    def _is_quiet(self) -> bool:
        """Whether nothing has come that nobody has asked for, such as its end."""
        sock = self._http.sock
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return False
        waiting = select.poll()
        waiting.register(self._handle, select.POLLIN)
        return not waiting.poll(0)


def _spoken(place: Place) -> HTTPConnection:
    if place.scheme == "https":
        return HTTPSConnection(place.host, place.port, context=CONTEXT)
    return HTTPConnection(place.host, place.port)


# Making one

_resolver = ThreadPoolExecutor(max_workers=32, thread_name_prefix="resolve")


def _numbered(host: str, port: int) -> tuple[Any, ...] | None:
    """Read a host that is an address itself: to ask for it takes time."""
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family, socket.SOCK_STREAM, 0, "", (host, port, *rest)
    return None


def _resolve(host: str, port: int, until: float) -> Sequence[tuple[Any, ...]]:
    """Return the addresses of a host, within the deadline."""
    if numbered := _numbered(host, port):
        return [numbered]
    future = _resolver.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        return future.result(timeout=max(0.0, until - time.monotonic()))
    except FutureTimeout:
        future.cancel()
        raise TimeoutError(f"the name {host} was not resolved in time") from None


def connect(place: Place, until: float) -> Connection:
    """Connect within the deadline to an address that may be asked; without TLS yet."""
    error: OSError = OSError(f"the name {place.host} has no address")
    for family, kind, protocol, _, address in _resolve(place.host, place.port, until):
        sock = None
        try:
            place.policy.judge(str(address[0]))
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(max(0.001, until - time.monotonic()))
            sock.connect(address)
        except OSError as failure:
            if sock is not None:
                sock.close()
            error = failure
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Connection(place, sock)
    raise error


# Keeping some


class Kept:
    """Connections that nobody uses just now. Who takes one has it alone."""

    def __init__(self) -> None:
        self._idle: defaultdict[Place, list[Connection]] = defaultdict(list)
        self._number = 0
        self._is_watched = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._number

    def take(self, place: Place) -> Connection | None:
        """Return the one that was used last, if it is fit to be used again."""
        while one := self._pop(place):
            if one.is_fit():
                one.is_used = True
                return one
            one.close()
        return None

    def _pop(self, place: Place) -> Connection | None:
        with self._lock:
            if not (mine := self._idle.get(place)):
                return None
            self._number -= 1
            return mine.pop()

    def keep(self, one: Connection) -> None:
        """Keep one for whoever asks the same place soon, unless it is at an end."""
        one.idle_since = time.monotonic()
        with self._lock:
            if is_room := one.is_open and self._number < MOST_KEPT:
                self._idle[one.place].append(one)
                self._number += 1
                self._watch()
        if not is_room:
            one.close()

    def _watch(self) -> None:
        if self._number and not self._is_watched:
            self._is_watched = True
            later(MOST_IDLE, self.sweep)

    def sweep(self) -> None:
        """Close what nobody has come for, and look again while there is more."""
        with self._lock:
            idle = [one for some in self._idle.values() for one in some]
            past = [one for one in idle if not one.is_fit()]
            self._idle.clear()
            for one in idle:
                if one not in past:
                    self._idle[one.place].append(one)
            self._number -= len(past)
            self._is_watched = False
            self._watch()
        for one in past:
            one.close()


kept = Kept()


def _begin_anew() -> None:
    """What a parent has kept is the parent's: two would talk at once."""
    global kept
    kept = Kept()


os.register_at_fork(after_in_child=_begin_anew)
