"""Where the product runs to be measured: a home and a database of the run's own."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

# Whatever else the environment says about an installation is none of ours.
KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
POSTGRES: Final = "postgres://postgres@127.0.0.1:5432/postgres"
REDIS: Final = "redis://127.0.0.1:6379"
LOCAL: Final = ("127.0.0.1", "localhost", "::1")
REDIS_DATABASES: Final = 16
# Another run sees that a Redis database is taken; forgotten if this one is killed.
MARK, MARKED_SECONDS = "tocsin-bench", 4 * 3600


@contextmanager
def stage(*, servers: bool = False) -> Iterator[Path]:
    """Set Django up on an empty database in a new home, and yield that home.

    Settings read the environment, so a process can enter one stage only.
    """
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-"))
        ours = {"TOCSIN_HOME": home, "LOG_LEVEL": "WARNING"}
        if servers:
            ours |= stack.enter_context(_on_servers())
        _clean_environment(ours)
        stack.enter_context(_django())
        yield Path(home)


def _clean_environment(ours: dict[str, str]) -> None:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, DJANGO_SETTINGS_MODULE="config.settings", **ours)


@contextmanager
def _django() -> Iterator[None]:
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    call_command("migrate", verbosity=0)
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            connection.close()
            if connection.vendor == "postgresql":
                connection.close_pool()  # type: ignore[attr-defined]


# PostgreSQL and Redis


@contextmanager
def _on_servers() -> Iterator[dict[str, str]]:
    """Make a database, take an empty Redis one, and leave neither behind."""
    with (
        _fresh_database(_local("DATABASE_URL", POSTGRES)) as database,
        _empty_redis(_local("REDIS_URL", REDIS)) as redis,
    ):
        yield {"DATABASE_URL": database, "REDIS_URL": redis}


def _local(variable: str, default: str) -> str:
    """The server's address; what runs elsewhere cannot be seen in /proc."""
    url = os.environ.get(variable) or default
    if urlsplit(url).hostname not in LOCAL:
        sys.exit(f"{variable} should name a server on 127.0.0.1.")
    return url


@contextmanager
def _fresh_database(url: str) -> Iterator[str]:
    import psycopg

    name = f"tocsin_bench_{os.getpid()}"
    with psycopg.connect(url, autocommit=True, connect_timeout=3) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _empty_redis(url: str) -> Iterator[str]:
    import redis

    for number in reversed(range(REDIS_DATABASES)):
        address = urlsplit(url)._replace(path=f"/{number}").geturl()
        client = redis.Redis.from_url(address, socket_timeout=3)
        if client.set(MARK, os.getpid(), nx=True, ex=MARKED_SECONDS):
            if client.dbsize() == 1:
                break
            client.delete(MARK)
    else:
        sys.exit("No Redis database is empty.")
    try:
        yield address
    finally:
        client.flushdb()
