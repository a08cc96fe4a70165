"""The processes of a run: the product's, and those it plays with."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from . import meters
from .receiver import Arrival, arrivals

ROOT: Final = Path(__file__).parent.parent
STARTS_WITHIN: Final = 90.0
MOST_COMPLAINTS: Final = 30
# What comes on top of a run at most: starts, ends, and what is read in between.
AROUND: Final = 300
# What a process does, by a word of its command.
ROLES: Final = {
    "children.py": "keeper",  # first, because its plan names the others
    "gunicorn": "web",
    "checks": "checks",
    "deliveries": "deliveries",
}


class Running(NamedTuple):
    """A process of ours and where it writes what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it and all below it at once, as a power cut would."""
        if not self.is_alive():
            return
        # Stopped, it cannot start its children again in between.
        self.process.send_signal(signal.SIGSTOP)
        for pid in reversed(meters.tree([self.pid])):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def complaints(self) -> list[str]:
        """The lines it has logged as a warning or worse."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return [line for line in lines if " WARNING " in line or " ERROR " in line]


@contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Running]:
    """Run a process of the product; what it complains of goes to standard error."""
    log = _home() / f"{name}.log"
    with log.open("ab") as out:
        ours = Running(_start(command, out, environment), log)
    try:
        yield ours
    finally:
        # Nothing of it is needed any more: a farewell would only take time.
        ours.kill()
        print(*ours.complaints()[:MOST_COMPLAINTS], sep="", end="", file=sys.stderr)


def _home() -> Path:
    return Path(os.environ["TOCSIN_HOME"])


def _start(
    command: Sequence[str], out: IO[bytes] | int, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    from config.children import die_with_parent

    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=None if out == subprocess.PIPE else out,
        start_new_session=True,
        preexec_fn=die_with_parent(os.getpid()),
    )


@contextmanager
def workers(
    checks: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, Running]]:
    """The product's workers by name, as `up` starts them; one holds the clock."""
    from config.management.commands.up import worker

    names = [f"checks-{n + 1}" for n in range(checks)]
    commands = {
        name: worker("checks", "--concurrency=2", "--hostname", f"{name}@%h")
        for name in names
    }
    commands["deliveries"] = worker("deliveries", "--concurrency=4", "--clock")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(running(name, command, environment or {}))
            for name, command in commands.items()
        }


@contextmanager
def up(port: int) -> Iterator[Running]:
    """`manage.py up`, ready to serve on 127.0.0.1."""
    command = [sys.executable, str(ROOT / "manage.py"), "up"]
    with running("up", command, {"PORT": str(port)}) as ours:
        wait_until(lambda: _is_ready(port), ours)
        yield ours


@contextmanager
def product(*, servers: bool) -> Iterator[list[Running]]:
    """`manage.py up`; with `servers`, as on PostgreSQL and Redis, the workers alone."""
    if servers:
        with workers() as ours:
            yield list(ours.values())
    else:
        with up(free_port()) as one:
            yield [one]


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], *needed: Running) -> None:
    """Wait for a condition; give up if one of these ends, or after a while."""
    until = time.monotonic() + STARTS_WITHIN
    while not condition():
        ended = [one for one in needed if not one.is_alive()]
        if ended or time.monotonic() > until:
            said = "\n".join(one.log.read_text()[-2000:] for one in ended or needed)
            raise RuntimeError(f"The product has not started:\n{said}")
        time.sleep(0.2)


def by_role(root: int) -> dict[str, list[int]]:
    """The processes of `manage.py up` by what they do."""
    found: dict[str, list[int]] = {}
    for pid in meters.tree([root]):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.setdefault(_role(pid), []).append(pid)
    return found


def _role(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_text()
    return next((role for word, role in ROLES.items() if word in command), "other")


# The other side


def longest(seconds: float) -> float:
    """How long a target must be there for a run of so many seconds."""
    return seconds + AROUND


@contextmanager
def target(
    seconds: float, *, certificate: Path | None = None, hangs: bool = False
) -> Iterator[str]:
    """A web server that costs little, for at most so long; yields its address."""
    command = [sys.executable, "-m", "bench.target", str(seconds)]
    command += ["--tls", str(certificate)] if certificate else []
    command += ["--hang"] if hangs else []
    with _listening(command) as port:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{port}/"


class Receiver(NamedTuple):
    """Where webhooks can be sent to, and where it notes those that come."""

    url: str
    notes: Path

    def arrivals(self) -> list[Arrival]:
        return arrivals(self.notes)


@contextmanager
def receiver(seconds: float, *, delay: float = 0.0) -> Iterator[Receiver]:
    """Take webhooks, for at most so long; answer each after so many seconds."""
    with tempfile.NamedTemporaryFile(prefix="receiver-", dir=_home()) as notes:
        command = [sys.executable, "-m", "bench.receiver", str(seconds), notes.name]
        with _listening([*command, f"--delay={delay}"]) as port:
            yield Receiver(f"http://127.0.0.1:{port}/", Path(notes.name))


@contextmanager
def _listening(command: Sequence[str]) -> Iterator[int]:
    """Run what prints its port and then listens there."""
    with _start(command, subprocess.PIPE, {}) as ours:
        assert ours.stdout
        try:
            yield int(ours.stdout.readline())
        finally:
            ours.kill()


def answer(url: str, status: int) -> None:
    """Have a target, or one path of it, answer with this status from now on."""
    with suppress(urllib.error.HTTPError):  # it obeys with this very answer
        urllib.request.urlopen(f"{url}answer/{status}", timeout=5).close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def bare(**plan: Any) -> dict[str, Any]:
    """Run the bare loop by its plan, and return what it found."""
    said = subprocess.run(
        [sys.executable, "-m", "bench.bare"],
        cwd=ROOT,
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found
