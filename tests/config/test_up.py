import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from config.settings import BASE_DIR

# What a test must not inherit, because it would leave its own home.
OURS = ("DATABASE_URL", "REDIS_URL", "EMAIL_URL", "TOCSIN_URL", "SECRET_KEY", "HOST")


class Up:
    """`manage.py up` as somebody runs it, in a home of its own."""

    def __init__(self, home, port, **more):
        env = {k: v for k, v in os.environ.items() if k not in OURS}
        env.pop("DJANGO_SETTINGS_MODULE", None)
        self.home, self.port = home, port
        self.log = home.parent / f"up-{uuid.uuid4().hex[:6]}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(BASE_DIR / "manage.py"), "up"],
                env={**env, "TOCSIN_HOME": str(home), "PORT": str(port), **more},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self):
        return self.log.read_text()

    def wait_for(self, words, seconds=90):
        until = time.monotonic() + seconds
        while words not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)

    def pids(self):
        """All its processes: those that have its home in their environment."""
        mine = f"TOCSIN_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mine in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().split(b"\0")
                    found[int(folder.name)] = " ".join(c.decode() for c in command)
            except OSError:
                continue
        return found

    def pid_of(self, words):
        return next(pid for pid, command in self.pids().items() if words in command)

    def get(self, path):
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()

    def end(self, number=signal.SIGINT):
        """Send the signal; return the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(20)
        return code, time.monotonic() - started

    def close(self):
        for pid in (*self.pids(), self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@pytest.fixture
def start(tmp_path):
    started = []

    def start(**more):
        up = Up(tmp_path / "home", free_port(), **more)
        started.append(up)
        return up

    yield start
    for up in started:
        up.close()


def free_port():
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def eventually(true, seconds=30):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_up_starts_all_and_leaves_nothing_behind(start):
    up = start()
    up.wait_for("Tocsin is ready at")

    assert up.get("/healthz") == (200, "ok")
    assert len(re.findall(r"password  \S{23}", up.said)) == 1

    # Whoever dies is replaced.
    before = up.pid_of("--queues checks")
    os.kill(before, signal.SIGKILL)
    up.wait_for("checks     | ended by SIGKILL")
    eventually(lambda: up.pids() and before not in up.pids())
    eventually(lambda: any("--queues checks" in c for c in up.pids().values()))

    code, seconds = up.end(signal.SIGINT)

    assert code == 0
    assert seconds < 10
    assert up.pids() == {}
    assert "Traceback" not in up.said

    # The second time there is nothing to make and nothing to tell.
    up = start()
    up.wait_for("Tocsin is ready at")
    assert "password" not in up.said

    # Even killed, it leaves nothing behind.
    up.process.kill()
    eventually(lambda: up.pids() == {}, 15)


def test_up_says_in_one_line_that_the_port_is_in_use(start, tmp_path):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        up = start(PORT=str(port))

        assert up.process.wait(60) == 1

    assert up.said == (
        f"Tocsin cannot run: Port {port} on 127.0.0.1 is in use; "
        f"choose another: PORT={port + 1}\n"
    )
    assert not (tmp_path / "home" / "tocsin.sqlite3").exists()


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("PORT", "many", "PORT should be a whole number."),
        ("TOCSIN_URL", "status.example.com", "TOCSIN_URL should begin with http://"),
        ("DATABASE_URL", "mysql://u:secret@h/d", "DATABASE_URL begins with mysql://"),
    ],
)
def test_up_names_what_is_configured_badly(start, variable, value, complaint):
    up = start(**{variable: value})

    assert up.process.wait(60) == 1

    assert complaint in up.said
    assert up.said.count("\n") == 1
    assert "secret" not in up.said


def test_up_ends_when_a_child_keeps_dying(start):
    up = start(WEB_THREADS="many", DEBUG="true")

    assert up.process.wait(120) == 1

    assert "Tocsin cannot run: web ended 5 times within 60 seconds" in up.said
    assert "invalid literal for int() with base 10: 'many'" in up.said
    assert up.pids() == {}


def test_up_replaces_a_worker_that_is_stuck_as_a_whole(start):
    up = start(WORKER_STUCK_SECONDS="5")
    up.wait_for("Tocsin is ready at")
    stuck = up.pid_of("--queues checks")

    os.kill(stuck, signal.SIGSTOP)

    up.wait_for("it is stuck, and killed")
    up.wait_for("checks     | ended by SIGKILL; again in 0.25 s")
    eventually(lambda: any("--queues checks" in c for c in up.pids().values()))
    assert stuck not in up.pids()
    assert up.said.count("it is stuck, and killed") == 1
    code, _ = up.end()
    assert code == 0
    assert up.pids() == {}


def test_up_runs_on_postgresql_and_redis(start):
    database, redis = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL")
    if not (database.startswith("postgres") and redis):
        pytest.skip("DATABASE_URL and REDIS_URL do not name PostgreSQL and Redis.")
    own = f"tocsin_up_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {own}")
        try:
            address = f"{database.rpartition('/')[0]}/{own}"
            up = start(DATABASE_URL=address, REDIS_URL=redis)
            up.wait_for("Tocsin is ready at")
            code, seconds = up.end(signal.SIGTERM)
            assert code == 0
            assert seconds < 10
            assert up.pids() == {}
        finally:
            server.execute(f"DROP DATABASE {own} WITH (FORCE)")
