import errno
import json
import os
import socket
import sys
from typing import Any, NoReturn
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from config.starter import own_address


class Command(BaseCommand):
    help = "Start all of Tocsin: web, workers and clock. Ctrl-C ends it."
    # Run below, to be said in one line each.
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self._check()
        listening = self._listen()
        self._prepare()
        self._say_where()
        listening.set_inheritable(True)
        # They find us wherever this was called from.
        paths = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        keeper = settings.BASE_DIR / "config" / "children.py"
        # Everything of Django's leaves the memory; what stays looks after the others.
        os.execv(
            sys.executable,
            [sys.executable, "-I", str(keeper), json.dumps(plan(listening))],
        )

    def _check(self) -> None:
        serious = [found for found in run_checks() if found.is_serious()]
        if serious:
            said = [f"{found.msg} {found.hint or ''}".strip() for found in serious]
            self._refuse("\n    ".join(said))

    def _listen(self) -> socket.socket:
        """Take the port before anything is done, and keep it while web restarts."""
        host, port = settings.HOST, settings.PORT
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except socket.gaierror:
            self._refuse(f"HOST {host} is no address of this machine.")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                self._refuse(
                    f"Port {port} on {host} is in use; choose another: PORT={port + 1}"
                )
            self._refuse(f"Cannot listen on {host}:{port}: {error.strerror}.")
        return listening

    def _prepare(self) -> None:
        # A pool would try for long before it said that there is no database.
        connection.settings_dict["OPTIONS"].pop("pool", None)
        try:
            call_command("prepare", stdout=self.stdout)
        except DatabaseError as error:
            said = " ".join(str(error).split())
            self._refuse(f"The database cannot be used: {said}")

    def _refuse(self, reason: str) -> NoReturn:
        self.stderr.write(f"Tocsin cannot run: {reason}")
        sys.exit(1)

    def _say_where(self) -> None:
        self.stdout.write(
            f"\nTocsin starts on {own_address()}; Ctrl-C ends it.\n"
            f"    status page   {settings.TOCSIN_URL}/\n"
            f"    admin         {settings.TOCSIN_URL}/admin/\n"
            f"    API           {settings.TOCSIN_URL}/api/docs/\n"
            f"    everything is kept in {settings.TOCSIN_HOME}\n"
        )
        self.stdout.flush()


def plan(listening: socket.socket) -> dict[str, Any]:
    """Return what `config/children.py` lives by."""
    own = urlsplit(own_address())
    return {
        "children": [
            {
                "name": "web",
                "command": web(listening.fileno()),
                "files": [listening.fileno()],
            },
            {
                "name": "checks",
                "command": worker("checks", "--concurrency=2"),
                "stuck_after": settings.WORKER_STUCK_SECONDS,
            },
            {
                "name": "deliveries",
                "command": worker("deliveries", "--concurrency=4", "--clock"),
                "stuck_after": settings.WORKER_STUCK_SECONDS,
            },
        ],
        "herald": {
            "host": own.hostname,
            "port": own.port,
            "words": f"Tocsin is ready at {settings.TOCSIN_URL}/",
        },
    }


def web(listening: int) -> list[str]:
    return [
        *(sys.executable, "-m", "gunicorn"),
        *("--config", str(settings.BASE_DIR / "config" / "web.py")),
        *("--bind", f"fd://{listening}"),
    ]


def worker(queue: str, *options: str) -> list[str]:
    return [
        *(sys.executable, "-W", "ignore:You're running the worker with superuser"),
        *("-m", "celery", "--app", "config", "--quiet", "worker"),
        *("--loglevel", "WARNING", "--pool", "threads"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--queues", queue, "--hostname", f"{queue}-{os.getpid()}@%h", *options),
    ]
