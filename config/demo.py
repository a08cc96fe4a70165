"""The other side of the demonstration: a shop, a receiver, a reader's mailbox."""

import email.policy
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

from django.conf import settings
from standardwebhooks import Webhook, WebhookVerificationError

from .children import die_with_parent

# Whatever the environment says about the real installation must not be touched.
NOT_OURS: Final = (
    *("DATABASE_URL", "REDIS_URL", "EMAIL_URL", "ANYMAIL_PROVIDER", "TOCSIN_URL"),
    *("SECRET_KEY", "ENCRYPTION_KEYS", "STATIC_ROOT", "HOST", "DEBUG"),
)
DIVIDER: Final = b"-" * 79 + b"\n"


class Town(ThreadingHTTPServer):
    """A pretend shop at GET, and a receiver of webhooks at POST."""

    daemon_threads = True
    SECRET: ClassVar = "whsec_dG9jc2luLWRlbW9uc3RyYXRpb24tc2VjcmV0"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.is_broken = False
        self.received: list[tuple[datetime, dict[str, Any]]] = []
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Visit(BaseHTTPRequestHandler):
    server: Town

    def do_GET(self) -> None:
        self._answer(500 if self.server.is_broken else 200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            Webhook(self.server.SECRET).verify(body, dict(self.headers))
        except WebhookVerificationError:
            self._answer(403)
            return
        self.server.received.append((datetime.now(UTC), json.loads(body)))
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing: the story is told elsewhere."""


class Tocsin:
    """A whole installation in a home of its own, used as anybody would use it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
        self.port = free_port()
        self.env = {k: v for k, v in os.environ.items() if k not in NOT_OURS}
        self.env |= {"TOCSIN_HOME": str(self.home), "PORT": str(self.port)}
        self.log = self.home / "up.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, settings.BASE_DIR / "manage.py", "up"],
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        self._key = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self) -> bool:
        try:
            self.page("readyz")
        except OSError:
            return False
        return True

    def end(self, *, keep_home: bool = False) -> None:
        if self.is_alive:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        if self.is_alive:
            self._process.kill()
            self._process.wait()
        if not keep_home:
            shutil.rmtree(self.home, ignore_errors=True)

    # Its pages and its API

    def page(self, path: str, form: dict[str, str] | None = None) -> str:
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def page_as_file(self) -> str:
        """The page at the root, with its styles inside, so that a file shows them."""

        def inline(link: re.Match[str]) -> str:
            return f"<style>{self.page(link['path'])}</style>"

        pattern = r'<link rel="stylesheet" href="/(?P<path>[^"]+)">'
        return re.sub(pattern, inline, self.page(""))

    def make_key(self) -> None:
        made = subprocess.run(
            [sys.executable, settings.BASE_DIR / "manage.py", "create_api_key", "demo"],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        self._key = made.stdout.strip()

    def api(self, path: str, **values: Any) -> Any:
        """GET what is there, or POST the values if there are any."""
        request = urllib.request.Request(
            f"{self.url}api/v1/{path}",
            data=json.dumps(values).encode() if values else None,
            headers={
                "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            raise RuntimeError(f"{path} answered {error.code}: {said}") from error

    # What it leaves on disk

    def checks(self, since: datetime, status: str) -> list[datetime]:
        """When the shop was found in this status, from a moment on."""
        with closing(
            sqlite3.connect(f"file:{self.home / 'tocsin.sqlite3'}?mode=ro", uri=True)
        ) as database:
            found = database.execute(
                "SELECT checked_at FROM monitors_checkresult JOIN monitors_monitor m "
                "ON m.id = monitor_id WHERE m.tag = 'shop' AND status = ? "
                "ORDER BY checked_at",
                [status],
            ).fetchall()
        moments = [datetime.fromisoformat(at).replace(tzinfo=UTC) for (at,) in found]
        return [at for at in moments if at >= since]

    def mails(self) -> Iterator[tuple[datetime, EmailMessage]]:
        """Every mail it has written, and when."""
        folder = self.home / "mail"
        for path in sorted(folder.glob("*")) if folder.exists() else []:
            at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            for raw in path.read_bytes().split(DIVIDER):
                if raw.strip():
                    yield at, email.message_from_bytes(raw, policy=email.policy.default)

    def admin(self) -> str:
        """The first admin's name and password, as it printed them."""
        found = re.search(r"name +(\S+)\s+password +(\S+)", self.log.read_text())
        return " / ".join(found.groups()) if found else "see the log"


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def plain(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return body.get_content() if body else ""
