"""Keeps the processes of `manage.py up` alive, and leaves none behind.

Run by its path, and with the standard library alone, so that what stays in
memory only to look after others is small.
"""

import collections
import ctypes
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final

LONGEST_WAIT: Final = 8.0
DEATHS: Final = 5
WITHIN_SECONDS: Final = 60.0
LAST_WORDS: Final = 15
PR_SET_PDEATHSIG: Final = 1
PULSE: Final = "TOCSIN_PULSE_FD"


class KeepsDying(Exception):
    """A child died too often; the text says which and what it said last."""


class Pulse:
    """A pipe into which a child that lives writes every couple of seconds."""

    def __init__(self, stuck_after: float) -> None:
        self.stuck_after = stuck_after
        self.silent = 0.0
        self._has_begun = False
        self._ours = -1

    @property
    def is_stuck(self) -> bool:
        return self.silent > self.stuck_after

    @contextmanager
    def given(self) -> Iterator[int]:
        """Make the pipe for a new child, and keep only our end of it."""
        if self._ours >= 0:
            os.close(self._ours)
        self._ours, theirs = os.pipe()
        os.set_blocking(self._ours, False)
        self.silent, self._has_begun = 0.0, False
        try:
            yield theirs
        finally:
            os.close(theirs)

    def stops(self, seconds: float) -> bool:
        """Listen; True at the moment when it has been silent for too long.

        `seconds` have passed since the last time. Nothing is expected of one that
        has yet to begin: it may take its time, or may know nothing of pulses.
        """
        with suppress(BlockingIOError):
            if os.read(self._ours, 4096):
                self.silent, self._has_begun = 0.0, True
                return False
        before = self.silent
        self.silent += seconds if self._has_begun else 0.0
        return before <= self.stuck_after < self.silent


class Child:
    """A command that is started again whenever it ends."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        files: Sequence[int] = (),
        stuck_after: float = math.inf,
    ) -> None:
        self.name, self.command, self.files = name, command, files
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe: IO[bytes]
        self.pulse = Pulse(stuck_after)
        self.start_at = time.monotonic()
        self._rest = b""
        self._words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._deaths: collections.deque[float] = collections.deque(maxlen=DEATHS)

    def start(self) -> IO[bytes]:
        """Start it in a session of its own, so that Ctrl-C reaches us alone.

        Returns the pipe that it speaks into.
        """
        with self.pulse.given() as file:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[*self.files, file],
                env={**os.environ, PULSE: str(file)},
                preexec_fn=die_with_parent(os.getpid()),
            )
        assert process.stdout
        self.process, self.pipe = process, process.stdout
        return self.pipe

    def pass_on(self) -> bool:
        """Print what it has said, line by line; False when there will be no more."""
        said = os.read(self.pipe.fileno(), 65536)
        *lines, self._rest = (self._rest + said).split(b"\n")
        if not said and self._rest:
            lines, self._rest = [self._rest], b""
        for line in lines:
            self._words.append(line.decode("utf-8", "replace"))
            self.say(self._words[-1])
        return bool(said)

    def mourn(self) -> None:
        """Plan the next start; raise KeepsDying if there have been too many.

        One that was stuck is not counted: it could start and it has worked, and
        what holds it up, such as a disk, will pass. To end for it would take
        down the others, which still serve.
        """
        assert self.process
        code = self.process.wait()
        self.kill_group()
        self.process = None
        now = time.monotonic()
        if not self.pulse.is_stuck and code != os.EX_SOFTWARE:
            self._deaths.append(now)
        recent = sum(now - at < WITHIN_SECONDS for at in self._deaths)
        if recent == DEATHS:
            raise KeepsDying(
                f"{self.name} ended {DEATHS} times within {WITHIN_SECONDS:.0f} "
                f"seconds, the last time {_how(code)}. It said:\n"
                + "\n".join(f"    {line}" for line in self._words)
            )
        wait = min(0.25 * 2**recent, LONGEST_WAIT)
        self.start_at = now + wait
        self.say(f"ended {_how(code)}; again in {wait:g} s")

    def end_if_stuck(self, seconds: float) -> None:
        if self.process and self.pulse.stops(seconds):
            silent = self.pulse.silent
            self.say(f"silent for {silent:.0f} seconds: it is stuck, and killed")
            self.kill_group()

    def say(self, words: str) -> None:
        print(f"{self.name:10} | {words}", file=sys.stderr, flush=True)

    def signal(self, number: int) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill_group(self) -> None:
        """End whatever it has started and left behind."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Family:
    """Keeps all children alive until a signal says that it is enough.

    One thread does everything: forking from a process with threads is a risk.
    """

    GRACE: Final = 7.0

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._felt_at = time.monotonic()

    def live(self, meanwhile: Callable[[], None]) -> None:
        """Return after SIGINT or SIGTERM, or raise KeepsDying; nothing is left."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)
        try:
            while not self._signals:
                self._start_due()
                self._listen(0.5)
                self._feel_pulses()
                meanwhile()
        finally:
            self._end()

    def _note(self, *args: object) -> None:
        self._signals += 1

    def _start_due(self) -> None:
        for child in self.children:
            if child.process is None and child.start_at <= time.monotonic():
                self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _listen(self, seconds: float) -> None:
        """Pass on what the children say, and notice those that have ended."""
        for key, _ in self._selector.select(seconds):
            if not key.data.pass_on():
                self._selector.unregister(key.fileobj)
        for child in self.children:
            if child.process and child.process.poll() is not None:
                self._hear_out(child)
                if not self._signals:
                    child.mourn()

    def _feel_pulses(self) -> None:
        """Kill who is stuck; while we ourselves paused, nobody was silent."""
        now = time.monotonic()
        passed, self._felt_at = min(now - self._felt_at, 1.0), now
        for child in self.children:
            child.end_if_stuck(passed)

    def _hear_out(self, child: Child) -> None:
        """Pass on its last words; a grandchild may still hold the pipe open."""
        if child.pipe.closed:
            return
        os.set_blocking(child.pipe.fileno(), False)
        with suppress(BlockingIOError):
            while child.pass_on():
                pass
        with suppress(KeyError):
            self._selector.unregister(child.pipe)
        child.pipe.close()

    def _end(self) -> None:
        """Ask everyone to end; after a while, nobody is asked."""
        self._signals += 1
        for child in self.children:
            child.signal(signal.SIGTERM)
        until = time.monotonic() + self.GRACE
        while self._alive() and time.monotonic() < until:
            self._listen(0.1)
        for child in self.children:
            child.kill_group()
            if child.process:
                child.process.wait()

    def _alive(self) -> bool:
        return any(c.process and c.process.poll() is None for c in self.children)


def die_with_parent(parent: int) -> Callable[[], None]:
    """Have the kernel end a child when its parent is gone, even killed (Linux)."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _how(code: int) -> str:
    if code >= 0:
        return f"with code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


class Herald:
    """Says once that the site is ready to serve."""

    def __init__(self, host: str, port: int, words: str) -> None:
        self.host, self.port, self.words = host, port, words
        self.look_at = time.monotonic()

    def look(self) -> None:
        if self.words and time.monotonic() >= self.look_at:
            self.look_at = time.monotonic() + 0.5
            if self._ready():
                print(self.words, flush=True)
                self.words = ""

    def _ready(self) -> bool:
        ask = f"GET /readyz HTTP/1.0\r\nHost: localhost:{self.port}\r\n\r\n"
        try:
            with socket.create_connection((self.host, self.port), 1) as asked:
                asked.sendall(ask.encode())
                return asked.recv(64).split()[1:2] == [b"200"]
        except OSError:
            return False


def main(plan: str) -> int:
    """Live by a plan, which is JSON; return the exit code."""
    planned = json.loads(plan)
    family = Family([Child(**child) for child in planned["children"]])
    try:
        family.live(Herald(**planned["herald"]).look)
    except KeepsDying as reason:
        print(f"Tocsin cannot run: {reason}", file=sys.stderr)
        return 1
    print("Tocsin has ended.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
