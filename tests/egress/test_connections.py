"""Connections that are kept: what one message may not take from the one before."""

import os
import socket
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import replace

import pytest

from egress import connections
from egress.client import Request, RequestFailed, send
from egress.connections import Place
from egress.policy import OPERATORS, STRANGERS
from tests.workers import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(peer, asked):
    peer.sendall(OK)


def close(peer, asked):
    peer.shutdown(socket.SHUT_RDWR)


def answer_and_close(peer, asked):
    peer.sendall(OK)
    peer.shutdown(socket.SHUT_RDWR)


def break_off(peer, asked):
    peer.sendall(b"HTTP/1.1 2")
    peer.shutdown(socket.SHUT_RDWR)


def break_off_body(peer, asked):
    peer.sendall(OK[:-1])
    peer.shutdown(socket.SHUT_RDWR)


def say_too_much(peer, asked):
    peer.sendall(OK)
    time.sleep(0.05)
    peer.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


def _whole(peer):
    """One request, body included; nothing if there is none any more."""
    read = b""
    while not read.endswith(b"\r\n\r\n{}"):
        if not (more := peer.recv(65536)):
            return b""
        read += more
    return read


def answer_in_two_steps(peer, asked):
    peer.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
    time.sleep(0.3)
    peer.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


class Peer:
    """A server that keeps connections and does as it is told, request by request.

    `asked` holds for each request the number of its connection and its bytes.
    """

    def __init__(self, tls=None):
        self.script, self.asked, self.connections, self.ended = [], [], 0, 0
        self._tls, self._stopped, self._open = tls, threading.Event(), []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self):
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/"

    def _accept(self):
        self._listening.settimeout(0.05)
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                peer, _ = self._listening.accept()
                self._open.append(peer.dup())
                self.connections += 1
                serve = threading.Thread(
                    target=self._serve, args=[peer, self.connections]
                )
                self._threads.append(serve)
                serve.start()
        self._listening.close()

    def _serve(self, peer, number):
        peer.settimeout(30)
        with suppress(OSError):
            peer = self._tls.wrap_socket(peer, True) if self._tls else peer
            while read := _whole(peer):
                self.asked.append((number, read))
                (self.script.pop(0) if self.script else answer)(peer, read)
        peer.close()
        self.ended += 1

    def drip(self, peer, asked):
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        while not self._stopped.wait(0.05):
            peer.sendall(b"X: y\r\n")

    def hang(self, peer, asked):
        self._stopped.wait(60)

    def close(self):
        self._stopped.set()
        self._threads[0].join(20)
        for peer in self._open:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()
        for thread in self._threads:
            thread.join(20)


@pytest.fixture
def keeper(monkeypatch):
    """Connections kept for this test only."""
    kept = connections.Kept()
    monkeypatch.setattr(connections, "kept", kept)
    yield kept
    monkeypatch.setattr(connections, "MOST_IDLE", 0.0)
    kept.sweep()


@pytest.fixture
def peer(keeper):
    made = Peer()
    yield made
    made.close()


def message(peer, key="one", **more):
    return Request(
        url=peer.url,
        method="POST",
        headers={"Idempotency-Key": key},
        body=b"{}",
        **more,
    )


def test_messages_to_one_place_share_a_connection(peer):
    for key in ("one", "two", "three"):
        assert send(message(peer, key)).status == 200

    assert [number for number, _ in peer.asked] == [1, 1, 1]


def test_what_has_no_key_to_be_repeated_under_has_a_connection_of_its_own(peer):
    send(message(peer))
    for _ in range(2):
        send(replace(message(peer), headers={}))

    assert [number for number, _ in peer.asked] == [1, 2, 3]
    assert b"Connection: close" in peer.asked[1][1]


def test_connection_over_tls_is_kept_as_well(keeper, tls):
    peer = Peer(tls)
    try:
        assert [send(message(peer)).status for _ in range(3)] == [200] * 3
        assert peer.connections == 1
    finally:
        peer.close()


@pytest.mark.parametrize("secure", [False, True])
def test_peer_that_closes_between_two_messages_is_asked_anew(keeper, tls, secure):
    peer = Peer(tls if secure else None)
    try:
        peer.script = [answer_and_close]
        assert send(message(peer)).status == 200
        assert eventually(lambda: peer.ended == 1, 10)

        assert send(message(peer)).status == 200

        assert [number for number, _ in peer.asked] == [1, 2]
    finally:
        peer.close()


def test_peer_that_closes_just_then_is_asked_once_more_under_the_same_key(peer):
    send(message(peer, "one"))
    peer.script = [close]

    assert send(message(peer, "two")).status == 200

    assert [number for number, _ in peer.asked] == [1, 1, 2]
    assert all(b"Idempotency-Key: two" in read for _, read in peer.asked[1:])


def test_peer_that_answers_nothing_on_a_new_connection_either_has_failed(peer):
    send(message(peer))
    peer.script = [close, close]

    with pytest.raises(RequestFailed, match="closed without an answer"):
        send(message(peer))

    assert len(peer.asked) == 3


def test_peer_that_has_gone_meanwhile_has_failed(peer):
    send(message(peer))
    peer.close()

    with pytest.raises(RequestFailed, match="Connection refused"):
        send(message(peer))


@pytest.mark.parametrize("how", [break_off, break_off_body])
def test_answer_that_breaks_off_is_a_failure_and_nothing_is_asked_twice(peer, how):
    send(message(peer))
    peer.script = [how]

    with pytest.raises(RequestFailed):
        send(message(peer))

    assert len(peer.asked) == 2


@pytest.mark.parametrize("how", ["drip", "hang"])
def test_kept_connection_is_cut_off_at_the_deadline(peer, keeper, how):
    send(message(peer))
    peer.script = [getattr(peer, how)]
    began = time.monotonic()

    with pytest.raises(RequestFailed, match=r"No answer within 0\.5 s"):
        send(message(peer, timeout=0.5))

    assert time.monotonic() - began < 10
    assert [number for number, _ in peer.asked] == [1, 1]
    assert len(keeper) == 0


def test_answer_that_nobody_has_asked_for_is_taken_for_none(peer):
    peer.script = [say_too_much]
    send(message(peer))
    time.sleep(0.3)

    assert send(message(peer)).status == 200

    assert [number for number, _ in peer.asked] == [1, 2]


def test_answer_that_was_still_to_come_is_not_taken_for_the_next(peer):
    peer.script = [answer_in_two_steps]
    send(message(peer))

    assert send(message(peer)).status == 200

    assert [number for number, _ in peer.asked] == [1, 2]


def test_what_is_left_of_a_long_answer_is_not_taken_for_the_next(peer):
    assert send(message(peer, most_bytes=1)).body == b"o"

    assert send(message(peer)).body == b"ok"

    assert [number for number, _ in peer.asked] == [1, 2]


def test_kept_connection_goes_to_the_judged_address_until_it_is_judged_anew(
    peer, monkeypatch
):
    means = {"address": "127.0.0.1"}

    def resolve(host, port, *rest):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (means["address"], port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asked = replace(message(peer), url=f"http://shop.test:{peer.port}/")
    send(asked)
    means["address"] = "169.254.169.254"

    send(asked)
    assert [number for number, _ in peer.asked] == [1, 1]

    monkeypatch.setattr(connections, "MOST_AGE", 0.0)
    with pytest.raises(RequestFailed, match="metadata"):
        send(asked)
    assert len(peer.asked) == 2


def test_connection_judged_for_operators_is_not_lent_to_strangers(peer):
    send(message(peer))

    with pytest.raises(RequestFailed, match="not a public address"):
        send(message(peer, policy=STRANGERS))

    assert len(peer.asked) == 1


def test_connection_that_nobody_comes_for_is_closed(peer, keeper, monkeypatch):
    monkeypatch.setattr(connections, "MOST_IDLE", 0.1)
    send(message(peer))
    assert len(keeper) == 1

    assert eventually(lambda: len(keeper) == 0, 10)


def test_no_more_are_kept_than_may_be(peer, keeper, monkeypatch):
    monkeypatch.setattr(connections, "MOST_KEPT", 2)
    place = Place("http", "127.0.0.1", peer.port, OPERATORS)
    until = time.monotonic() + 10

    for _ in range(4):
        keeper.keep(connections.connect(place, until))

    assert len(keeper) == 2


def test_two_at_once_never_share_a_connection(peer, keeper):
    send(message(peer))
    place = Place("http", "127.0.0.1", peer.port, OPERATORS)

    taken = [keeper.take(place) for _ in range(2)]

    assert taken[0] is not None
    assert taken[1] is None
    taken[0].close()


def test_child_process_does_not_use_what_its_parent_has_kept(peer):
    send(message(peer))
    with warnings.catch_warnings():
        # Python warns of forks beside threads; the child does next to nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(len(connections.kept))

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
