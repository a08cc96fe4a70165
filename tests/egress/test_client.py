import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from egress import policy
from egress.client import Request, RequestFailed, Response, send
from egress.policy import OPERATORS, STRANGERS, Refused
from egress.transfers import Transfers
from tests.servers import WebServer


def by_client(request):
    try:
        return send(request)
    except RequestFailed as failure:
        return failure


def by_curl(request):
    transfers, answers = Transfers(), []
    transfers.start(request, answers.append)
    while not answers:
        transfers.run(1.0)
    return answers[0]


def with_a_key(request):
    """Over a connection that is kept, where there is one."""
    headers = {**request.headers, "Idempotency-Key": "a"}
    return by_client(replace(request, headers=headers))


# All ways out keep the same promises.
every = pytest.mark.parametrize("ask", [by_client, with_a_key, by_curl])


@every
def test_answer_has_status_headers_body_and_phases(ask, shop):
    shop.status, shop.body, shop.headers = 418, b"short and stout", {"X-Pot": "tea"}

    answer = ask(Request(url=shop.url, headers={"X-Asked": "yes"}))

    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert answer.headers["x-pot"] == "tea"
    assert answer.latency_ms > 0
    assert sum(answer.phases.values()) == pytest.approx(answer.latency_ms)
    assert shop.requests[0][2]["X-Asked"] == "yes"
    assert shop.requests[0][2]["User-Agent"].startswith("Tocsin/")


@every
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_method_and_body_arrive(ask, method, shop):
    body = b'{"a": 1}' if method in ("POST", "PUT") else b""

    answer = ask(Request(url=shop.url, method=method, body=body))

    assert answer.status == 200
    assert (shop.requests[0][0], shop.requests[0][3]) == (method, body)


@every
def test_deadline_covers_an_answer_that_never_comes(ask, shop):
    shop.delay = 60.0

    failure = ask(Request(url=shop.url, timeout=0.3))

    assert str(failure) == "No answer within 0.3 s"


@every
def test_refused_connection_says_so(ask):
    assert str(ask(Request(url="http://127.0.0.1:1/"))) == "Connection refused"


@every
def test_unknown_name_says_so(ask):
    failure = ask(Request(url="http://no-such-host.invalid/"))

    assert "could not be resolved" in str(failure)


@every
@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "nonsense"])
def test_only_http_goes_out(ask, url):
    assert isinstance(ask(Request(url=url)), RequestFailed)


@every
def test_body_that_is_read_is_bounded(ask, shop):
    shop.body = b"x" * 3_000_000

    answer = ask(Request(url=shop.url, most_bytes=1000))

    assert len(answer.body) == 1000


@pytest.mark.parametrize("ask", [by_client, with_a_key])
def test_message_goes_where_it_was_sent_whatever_redirect_is_answered(ask, shop):
    shop.status, shop.headers = 302, {"Location": shop.url}

    assert ask(Request(url=shop.url, redirects=5)).status == 302
    assert len(shop.requests) == 1


def test_redirects_of_a_check_are_followed_only_when_asked_for(shop):
    other = WebServer()
    try:
        shop.status, shop.headers = 302, {"Location": other.url}

        stayed = by_curl(Request(url=shop.url))
        followed = by_curl(Request(url=shop.url, redirects=5))
    finally:
        other.close()

    assert (stayed.status, followed.status) == (302, 200)


def test_endless_redirects_of_a_check_end(shop):
    shop.status, shop.headers = 302, {"Location": shop.url}

    assert str(by_curl(Request(url=shop.url, redirects=5))) == "Too many redirects"


@every
@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/", "http://[fd00:ec2::254]/"]
)
def test_cloud_metadata_is_never_asked(ask, url):
    assert "metadata" in str(ask(Request(url=url)))


def test_redirect_of_a_check_to_a_forbidden_address_is_refused(shop):
    shop.status, shop.headers = 302, {"Location": "http://169.254.169.254/"}

    failure = by_curl(Request(url=shop.url, redirects=5))

    assert "metadata" in str(failure)


@every
def test_stranger_may_not_reach_this_machine_by_any_name(ask, shop):
    for host in ("127.0.0.1", "localhost"):
        url = shop.url.replace("127.0.0.1", host)

        failure = ask(Request(url=url, policy=STRANGERS))

        assert "not a public address" in str(failure)
    assert shop.requests == []


@every
def test_cookies_and_proxies_play_no_part(ask, shop, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    shop.headers = {"Set-Cookie": "a=b"}

    ask(Request(url=shop.url))
    ask(Request(url=shop.url))

    assert [headers["Cookie"] for _, _, headers, _ in shop.requests] == [None, None]


def test_many_transfers_share_one_thread(shop):
    transfers, answers = Transfers(), []
    before = threading.active_count()

    for _ in range(100):
        transfers.start(Request(url=shop.url), answers.append)
    while len(transfers):
        transfers.run(1.0)

    assert {answer.status for answer in answers} == {200}
    assert len(answers) == 100
    # Threads of the resolver and of the server under test come and go.
    assert not any("curl" in t.name for t in threading.enumerate()[before:])


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "100.100.100.200",
        "fd00:ec2::254",
    ],
)
def test_metadata_is_recognised_however_it_is_written(address):
    with pytest.raises(Refused):
        OPERATORS.judge(address)


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.1", "0.0.0.0", "::1", "::"),
        *("169.254.1.1", "fe80::1%eth0", "fc00::1", "224.0.0.1", "255.255.255.255"),
        *("100.64.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1"),
    ],
)
def test_strangers_reach_public_addresses_only(address):
    with pytest.raises(Refused):
        STRANGERS.judge(address)
    policy.STRANGERS.judge("93.184.215.14")


@pytest.fixture
def dripping(tls):
    """An https server that answers a byte at a time, for ever."""
    stopped = threading.Event()

    def serve(listening):
        with (
            suppress(OSError),
            tls.wrap_socket(listening.accept()[0], True) as peer,
        ):
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stopped.wait(0.1):
                peer.sendall(b"X: y\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/"
        stopped.set()
        thread.join(20)


def test_deadline_cuts_off_a_dripping_answer_over_tls(dripping):
    began = time.monotonic()

    failure = by_client(Request(url=dripping, timeout=1.0))

    assert str(failure) == "No answer within 1 s"
    # Without the cut it would go on until the server has had enough.
    assert time.monotonic() - began < 15
