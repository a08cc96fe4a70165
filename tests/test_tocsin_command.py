"""The command over the API, as a process of its own against real servers."""

import ast
import json
import os
import pty
import shlex
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from django.utils import timezone

import tocsin
from access.models import ApiKey
from config.settings import BASE_DIR
from incidents.models import Incident

from .servers import free_port

SCRIPT = BASE_DIR / "tocsin.py"
KEY = "toc_0123abcd_" + "Secret-_42" * 4
ISSUE = {
    "id": 7,
    "title": "Slow",
    "state": "INVESTIGATING",
    "severity": "critical",
    "started_at": "2026-03-01T10:00:00Z",
    "url": "https://status.example/incidents/7/",
}


@pytest.fixture
def run(tmp_path):
    """Run tocsin.py with nothing but what is given, and what Python ships with."""

    def run(*arguments, typed="", **env):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(SCRIPT), *arguments],
            env={"HOME": str(tmp_path), "PATH": os.defpath, **env},
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        assert "Secret" not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def ask(run, shop):
    """Run it against a server whose answers are made up."""

    def ask(*arguments, **more):
        return run(*arguments, **{"TOCSIN_URL": shop.url, "TOCSIN_KEY": KEY, **more})

    return ask


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / ".config" / "tocsin"
    path.parent.mkdir()

    def write(words, mode=0o600):
        path.write_text(words)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def untrusted(tmp_path):
    """The address of a server whose certificate nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = timezone.now()
    ends = now + timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 4711, now, ends)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        signed.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *args: None
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def page(*rows, following=None):
    found = {"next": following, "previous": None, "results": list(rows)}
    return json.dumps(found).encode()


def problem(status, detail, **more):
    return json.dumps({"status": status, "detail": detail, **more}).encode()


# What it is made of


def test_it_needs_nothing_but_python_3_9():
    parsed = ast.parse(SCRIPT.read_text(), feature_version=(3, 9))

    names = {
        name.split(".")[0]
        for node in ast.walk(parsed)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert names <= set(sys.stdlib_module_names)


def test_it_has_the_version_of_the_project(run):
    project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]

    assert run("--version") == (0, f"tocsin {project['version']}\n", "")


# The key


def test_key_comes_from_the_environment_or_a_file(run, shop, tmp_path):
    shop.body = page()
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")

    first = run("incident", "list", TOCSIN_URL=shop.url, TOCSIN_KEY=KEY)
    second = run("incident", "list", "--url", shop.url, "--key-file", str(file))

    assert first == second == (0, "No incident is open.\n", "")
    sent = [headers["Authorization"] for _, _, headers, _ in shop.requests]
    assert sent == [f"Bearer {KEY}"] * 2
    _, path, headers, _ = shop.requests[0]
    assert path == "/api/v1/incidents/?open=true&page_size=51"
    assert headers["User-Agent"] == f"tocsin/{tocsin.VERSION}"


def test_settings_are_kept_in_a_file(run, shop, settings_file):
    shop.body = page()
    settings_file(f"[tocsin]\nurl = {shop.url}\nkey = {KEY}\n")

    assert run("incident", "list")[0] == 0
    assert shop.requests[0][2]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_settings_that_others_may_read_are_refused(run, shop, settings_file, mode):
    path = settings_file(f"[tocsin]\nurl = {shop.url}\nkey = {KEY}\n", mode)

    code, _, err = run("incident", "list")

    assert code == 2
    assert err == f"Others may read {path}, and the key in it: chmod 600 {path}\n"
    assert shop.requests == []


def test_kept_key_is_for_the_kept_server_alone(run, shop, settings_file):
    settings_file(f"[tocsin]\nurl = https://status.example\nkey = {KEY}\n")

    code, _, err = run("--url", shop.url, "incident", "list")

    assert code == 2
    assert err.startswith(f"There is no key for {shop.url.rstrip('/')}: ")
    assert shop.requests == []


@pytest.mark.parametrize(
    "words",
    [
        f"key = {KEY}",
        f"[tocsin]\nkey {KEY}",
        f"[other]\nkey = {KEY}",
        "[tocsin]\nk\xff",
    ],
)
def test_settings_out_of_shape_are_not_repeated(run, settings_file, words):
    path = settings_file("")
    path.write_bytes(words.encode("latin-1"))

    code, _, err = run("incident", "list")

    assert code == 2
    assert f"{path} should have url" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--key", KEY, "incident", "list"],
        ["incident", "list", "--key", KEY],
        ["incident", "list", f"--key={KEY}"],
        ["--key-file", KEY, "incident", "list"],
        [KEY],
    ],
)
def test_key_on_the_command_line_is_refused_and_not_repeated(run, arguments):
    assert run(*arguments, TOCSIN_URL="http://127.0.0.1:9")[0] == 2


@pytest.mark.parametrize("key", ["", "Secret", f"{KEY}\nX-More: Secret", f"{KEY} é"])
def test_what_is_no_key_is_not_sent(run, shop, key):
    code, _, _ = run("incident", "list", TOCSIN_URL=shop.url, TOCSIN_KEY=key)

    assert code == 2
    assert shop.requests == []


def test_key_that_a_server_repeats_is_not_shown(ask, shop):
    shop.status, shop.body = 400, problem(400, f"You sent {KEY}!")
    assert ask("incident", "list") == (1, "", "You sent toc_***!\n")

    shop.status, shop.body = 200, page({**ISSUE, "title": KEY})
    assert "toc_***" in ask("incident", "list")[1]
    assert "toc_***" in ask("incident", "list", "--json")[1]


def test_key_goes_nowhere_else(ask, shop, receiver):
    shop.body = page(*[ISSUE] * 500, following=f"{receiver.url}api/?cursor=abc")
    assert ask("incident", "list", "--limit", "600")[0] == 0
    assert [path for _, path, _, _ in shop.requests] == [
        "/api/v1/incidents/?open=true&page_size=500",
        "/api/v1/incidents/?cursor=abc",
    ]

    shop.status, shop.headers = 301, {"Location": receiver.url}
    code, _, err = ask("incident", "list")

    assert code == 3
    assert f"it sends us on to {receiver.url}" in err
    assert receiver.requests == []


# Being asked


def test_server_that_is_not_there(run):
    url = f"http://127.0.0.1:{free_port()}"

    code, _, err = run("incident", "list", TOCSIN_URL=url, TOCSIN_KEY=KEY)

    assert code == 3
    assert err == f"Tocsin cannot be reached at {url}: Connection refused.\n"


def test_what_was_not_sent_is_tried_again(run):
    """Nothing can have been done, so that writing may be tried again, too."""
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))  # taken, but nobody listens yet
        threading.Timer(0.4, late.listen).start()
        asked = [*("incident", "open", "Slow", "--message", "a"), *("--timeout", "1")]
        url = f"http://127.0.0.1:{late.getsockname()[1]}"

        code, _, err = run(*asked, TOCSIN_URL=url, TOCSIN_KEY=KEY)

        late.settimeout(5)
        with late.accept()[0] as first:
            sent = first.recv(4096)
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.accept()
    assert sent.startswith(b"POST /api/v1/incidents/ HTTP/1.1")
    assert (code, "was asked, but gave no answer" in err) == (3, True)


def test_writing_is_never_sent_twice(ask, shop):
    shop.delay = 5

    code, _, err = ask("--timeout", "0.3", "incident", "open", "a", "--message", "b")

    assert code == 3
    assert "nothing came within 0.3 s" in err
    assert "It may have been done all the same" in err
    assert len(shop.requests) == 1


def test_writing_is_not_sent_again_when_the_server_fails(ask, shop):
    shop.status, shop.body = 503, problem(503, "The database does not answer.")

    ended = ask("incident", "open", "a", "--message", "b")

    assert ended == (3, "", "The database does not answer.\n")
    assert len(shop.requests) == 1


def test_reading_is_asked_again(ask, shop):
    shop.status, shop.body = 503, problem(503, "The database does not answer.")

    assert ask("incident", "list")[0] == 3
    assert len(shop.requests) == 3


@pytest.mark.parametrize(
    "body", [b"<html>Hello", b"[]", b"\xff", b"null", b"[" * 100_000]
)
def test_what_does_not_answer_as_tocsin_does(ask, shop, body):
    shop.body = body

    code, _, err = ask("incident", "list")

    assert code == 3
    assert err.endswith("200, and not as its API answers.\n")


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 1), (401, 4), (403, 4), (404, 5), (409, 6), (413, 1), (429, 3), (500, 3)],
)
def test_every_refusal_has_its_code(ask, shop, status, code):
    shop.status, shop.body = status, problem(status, "Why it is so.")

    ended = ask("incident", "open", "a", "--message", "b")

    assert ended == (code, "", "Why it is so.\n")


def test_refusals_are_told_by_field(ask, shop):
    errors = {
        "summary": ["Too long.", "Too dull."],
        "monitors": {"0": {"tag": ["\x1b[2JUnknown."]}},
        "non_field_errors": ["No."],
    }
    shop.status, shop.body = 400, problem(400, "x", errors=errors)

    assert ask("incident", "open", "a", "--message", "b")[2].splitlines() == [
        "--message: Too long.",
        "--message: Too dull.",
        r"--affects 0 tag: \x1b[2JUnknown.",
        "No.",
    ]


def test_certificate_has_to_be_trusted(run, untrusted):
    code, _, err = run("incident", "list", TOCSIN_URL=untrusted, TOCSIN_KEY=KEY)

    assert code == 3
    assert "its certificate is not trusted: self-signed certificate" in err


@pytest.mark.parametrize(
    "url",
    [
        "status.example",
        "ftp://a",
        "http://",
        "http://u:p@127.0.0.1",
        "http://a b",
        "http://a:0",
        "http://a:99999",
        "http://a..b",
        "http://127.0.0.1/?a",
        "http://[",
    ],
)
def test_address_has_to_be_one(run, url):
    assert run("incident", "list", TOCSIN_URL=url, TOCSIN_KEY=KEY)[0] == 2


def test_missing_address_is_asked_for(run):
    ended = run("incident", "list", TOCSIN_KEY=KEY)

    assert ended == (2, "", "Say where Tocsin is: --url or TOCSIN_URL.\n")


def test_key_in_the_clear_is_warned_of(run):
    url = "http://status.invalid"

    _, _, err = run("incident", "list", TOCSIN_URL=url, TOCSIN_KEY=KEY)

    assert err.startswith("Warning: without https, ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["incident"],
        ["incident", "open"],
        ["incident", "open", "a", "--severity", "dull"],
        ["incident", "open", "a", "--affects", "shop:BROKEN"],
        ["incident", "open", "a", "--affects", ":DOWN"],
        ["incident", "open", b"\xff"],
        ["incident", "update", "0"],
        ["incident", "update", "-1"],
        ["incident", "list", "--open", "--all"],
        ["incident", "list", "--lim", "3"],
        ["incident", "list", "--limit", "0"],
        ["status", "--timeout", "nan"],
        ["status", "--timeout", "0"],
        ["incident", "open", "a"],
    ],
)
def test_wrong_usage(ask, shop, arguments):
    assert ask(*arguments)[0] == 2
    assert shop.requests == []


def test_message_is_read(ask, shop):
    shop.body = json.dumps(ISSUE).encode()

    ask("incident", "open", "a", "--message", "-", typed="One\n\n- **two**\n")

    assert shop.bodies[0]["summary"] == "One\n\n- **two**\n"


# In a terminal


class Terminal:
    """Runs it in a terminal, and keeps what it shows."""

    def __init__(self, url, home):
        self.env = {
            **{"HOME": str(home), "PATH": os.defpath, "TERM": "xterm"},
            **{"TOCSIN_URL": url, "TOCSIN_KEY": KEY, "COLUMNS": "60"},
        }

    def show(self, *arguments, **env):
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", str(SCRIPT), *arguments],
                env={**self.env, **env},
                stdin=theirs,
                stdout=theirs,
                stderr=subprocess.STDOUT,
            )
            os.close(theirs)
            shown = b"".join(iter(lambda: self._read(ours), b""))
            return process.wait(60), shown.decode().replace("\r\n", "\n")
        finally:
            os.close(ours)

    def _read(self, end):
        try:
            return os.read(end, 4096)
        except OSError:  # nobody holds the other end any more
            return b""


@pytest.fixture
def terminal(shop, tmp_path):
    return Terminal(shop.url, tmp_path)


def test_table_fits_the_terminal(terminal, shop):
    titles = [
        "Payments fail for everybody, everywhere",
        "支払いができない状態が続いています",
    ]
    shop.body = page(*({**ISSUE, "title": title} for title in titles))

    _, shown = terminal.show("incident", "list", NO_COLOR="1")

    assert [tocsin.width(line) for line in shown.splitlines()] == [52, 60, 60]
    assert shown.splitlines()[1].endswith("Payments fai…")


def test_colours_only_where_they_are_wanted(terminal, ask, shop):
    shop.body = page({**ISSUE, "title": "\x1b[5mSlow"})

    _, coloured = terminal.show("incident", "list")
    shown = [
        terminal.show("incident", "list", NO_COLOR="1")[1],
        terminal.show("incident", "list", TERM="dumb")[1],
        ask("incident", "list")[1],
    ]

    line = coloured.splitlines()[1]
    assert line.startswith("\x1b[31m")
    assert line.count("\x1b") == 2
    assert not any("\x1b" in one for one in shown)


def test_message_is_written_in_the_editor(terminal, shop, tmp_path):
    shop.body = json.dumps(ISSUE).encode()
    editor = tmp_path / "an editor"
    editor.write_text('#!/bin/sh\necho "In an editor" > "$2"\n')
    editor.chmod(0o700)
    named = f"{shlex.quote(str(editor))} --wait"

    code, _ = terminal.show("incident", "open", "Slow", EDITOR=named)

    assert code == 0
    assert shop.bodies[0]["summary"] == "In an editor\n"


@pytest.mark.parametrize(
    ("editor", "said"),
    [
        ("true", "Nothing was written, so nothing was done."),
        ("false", "The editor failed, nothing was done"),
        ("no-such-editor", "The editor failed, nothing was done"),
        ("'", "The editor failed, nothing was done"),
        ("", "name an editor in EDITOR"),
    ],
)
def test_editor_that_writes_nothing(terminal, shop, editor, said):
    code, shown = terminal.show("incident", "open", "Slow", EDITOR=editor)

    assert code == 2
    assert said in shown
    assert shop.requests == []


def test_reader_that_has_seen_enough_is_no_failure(shop, tmp_path):
    shop.body = page(*[ISSUE] * 50)
    command = (
        f"{shlex.quote(sys.executable)} -I {shlex.quote(str(SCRIPT))} incident list"
    )

    done = subprocess.run(
        ["sh", "-c", f"{{ {command}; echo $? >&2; }} | true"],
        env={"HOME": str(tmp_path), "TOCSIN_URL": shop.url, "TOCSIN_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == "0\n"


def test_terminal_without_the_letters_is_no_failure(ask, shop):
    shop.body = page({**ISSUE, "title": "Zahlung gestört"})

    done = subprocess.run(
        [sys.executable, str(SCRIPT), "incident", "list"],
        env={"TOCSIN_URL": shop.url, "TOCSIN_KEY": KEY, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
    )

    assert done.returncode == 0
    assert rb"gest\xf6rt" in done.stdout


# Against Tocsin itself


@pytest.fixture
def key(live_server):
    def issue(*scopes):
        return ApiKey(name="tests", **({"scopes": scopes} if scopes else {})).issue()

    return issue


def test_key_without_the_scope_has_no_permission(run, live_server, key):
    ended = run(
        *("incident", "open", "Slow", "--message", "a"),
        TOCSIN_URL=live_server.url,
        TOCSIN_KEY=key("incidents:read"),
    )

    assert ended == (4, "", "This key lacks the scope incidents:write.\n")
    assert not Incident.objects.exists()


def test_key_that_is_not_known_has_no_permission(run, live_server):
    ended = run("incident", "list", TOCSIN_URL=live_server.url, TOCSIN_KEY=KEY)

    assert ended == (4, "", "This key is not known, has expired or was revoked.\n")


def test_status_shows_what_is_not_as_it_should_be(run, live_server, key, make_monitor):
    env = {"TOCSIN_URL": live_server.url, "TOCSIN_KEY": key()}
    assert run("status", **env) == (
        0,
        "No incident is open.\n\nEvery monitor is up.\n",
        "",
    )
    now = timezone.now()
    make_monitor("bank")
    make_monitor("barn").pause(at=now)
    Incident.open(
        title="Slow",
        summary="a",
        source="API",
        started_at=now,
        at=now,
        impacts={make_monitor("shop"): "DOWN"},
    )

    code, out, _ = run("status", **env)

    lines = out.splitlines()
    assert code == 0
    assert lines[1].endswith("Slow")
    assert lines[3].split() == ["MONITOR", "STATUS", "CHECKED", "(UTC)", "REASON"]
    assert [line.split() for line in lines[4:]] == [
        ["bank", "no_data"],
        ["shop", "down"],
    ]
    found = json.loads(run("status", "--json", **env)[1])
    assert [row["tag"] for row in found["monitors"]] == ["bank", "shop"]
    assert [row["title"] for row in found["incidents"]] == ["Slow"]


def test_more_than_a_page_is_read(run, live_server, key):
    now = timezone.now()
    Incident.objects.bulk_create(
        Incident(title=f"{n}", published_at=now, started_at=now - timedelta(hours=n))
        for n in range(503)
    )
    env = {"TOCSIN_URL": live_server.url, "TOCSIN_KEY": key()}

    _, out, err = run("incident", "list", "--limit", "501", **env)

    assert [line.split()[-1] for line in out.splitlines()[1:]] == [
        str(n) for n in range(501)
    ]
    assert err == "There are more; --limit 1002 shows more.\n"
