"""Real workers on the test's database, to be killed as one pleases."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parent.parent


def database_url():
    """The address of the database that this test uses."""
    name, given = connection.settings_dict["NAME"], connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    user = quote(given["USER"] or "")
    user += f":{quote(given['PASSWORD'])}" if given["PASSWORD"] else ""
    return f"postgres://{user}@{given['HOST']}:{given['PORT'] or 5432}/{name}"


class Worker:
    """A process of ours in a home of its own, where no bell of anybody else rings."""

    def __init__(self, *arguments, **environment):
        self._home = tempfile.TemporaryDirectory(prefix="tocsin-worker-")
        self._arguments = arguments
        self._environment = {
            **{k: v for k, v in os.environ.items() if k != "REDIS_URL"},
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "TOCSIN_HOME": self._home.name,
            "DATABASE_URL": database_url(),
            "ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
            "CHECK_LEASE_SECONDS": "2",
            "DELIVERY_LEASE_SECONDS": "2",
            "LOG_LEVEL": "WARNING",
            **environment,
        }
        self._process = None

    def start(self):
        assert self._process is None
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self._arguments],
            cwd=ROOT,
            env=self._environment,
            start_new_session=True,
        )

    def kill(self):
        """End it as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def wait(self, seconds=60):
        """Wait until it has ended by itself; return its exit code."""
        code = self._process.wait(seconds)
        self._process = None
        return code

    def close(self):
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self._home.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


def celery_worker(**environment):
    """A worker for both queues. No beat runs, and nobody rings: it only sweeps."""
    queues = ("-Q", "checks,deliveries", "-P", "threads", "-c", "2")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    level = ("--loglevel", "WARNING")
    return Worker(
        "celery", "-A", "config", "worker", *queues, *quiet, *level, **environment
    )


def eventually(condition, seconds=60, every=0.1):
    """Wait for a condition, generously: it comes in time or the test fails."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())
