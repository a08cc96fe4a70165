"""doorbell://, the broker of a single machine: one file a message in a directory.

Like kombu's filesystem transport, except that a message appears whole: there it
is visible while still being written, and a worker that reads half of it dies.
And nobody polls: whoever consumes a queue has an ear in its folder, a FIFO, and
whoever puts a message there rings it.
"""

import errno
import math
import os
import select
import uuid
from contextlib import suppress
from pathlib import Path
from queue import Empty
from time import monotonic, time, time_ns
from typing import Any, ClassVar

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

# A worker that is down must not come back to days of rings.
MOST_WAITING = 200
EAR = ".ear-"


class Ear:
    """Hears that something was put into a folder."""

    listening: ClassVar[set["Ear"]] = set()

    def __init__(self, folder: Path) -> None:
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._path = folder / f"{EAR}{name}"
        # Not yet by its name: rung before it is open, it would be taken for dead.
        hidden = folder / f".{name}"
        os.mkfifo(hidden, 0o600)
        # Also for writing, so that it does not end whenever the last ringer is gone.
        self.file = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        hidden.rename(self._path)
        Ear.listening.add(self)

    def startle(self) -> None:
        """Have whoever listens look up."""
        with suppress(BlockingIOError):  # it is full of rings already
            os.write(self.file, b"!")

    def forget(self) -> None:
        """Forget what was rung until now; a look follows."""
        with suppress(BlockingIOError):
            while os.read(self.file, 4096):
                pass

    def close(self) -> None:
        Ear.listening.discard(self)
        self._path.unlink(missing_ok=True)
        os.close(self.file)


def ring(ear: Path) -> None:
    """Ring; an ear that its process has left behind is taken away."""
    try:
        file = os.open(ear, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            ear.unlink(missing_ok=True)
        return
    try:
        os.write(file, b"!")
    except OSError:
        pass  # it is full of rings already, or gone meanwhile
    finally:
        os.close(file)


class Channel(virtual.Channel):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ears: dict[str, Ear] = {}
        super().__init__(*args, **kwargs)

    @property
    def folder(self) -> Path:
        return Path(self.connection.client.transport_options["folder"])

    def queue_folder(self, queue: str) -> Path:
        folder = self.folder / queue
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _queue_bind(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to remember: every queue has the one exchange of its name."""

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        return [(exchange, "", exchange)]

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """Make the folder, and sweep out what a killed worker left half-done."""
        for path in self.queue_folder(queue).glob(".*"):
            if path.name.startswith(EAR):
                ring(path)
                continue
            with suppress(FileNotFoundError):
                if time() - path.stat().st_mtime > 60:
                    path.unlink()

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any
    ) -> None:
        # Before the first look: what comes after that is heard. Where there can
        # be no FIFO, it is seen at the next look.
        with suppress(OSError):
            self.ears[consumer_tag] = Ear(self.queue_folder(queue))
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)

    def basic_cancel(self, consumer_tag: str) -> None:
        if ear := self.ears.pop(consumer_tag, None):
            ear.close()
        super().basic_cancel(consumer_tag)

    def _waiting(self, queue: str) -> list[str]:
        return sorted(n for n in os.listdir(self.queue_folder(queue)) if n[0] != ".")

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        folder = self.queue_folder(queue)
        if len(self._waiting(queue)) >= MOST_WAITING:
            return
        name = f"{time_ns():020d}-{uuid.uuid4().hex}"
        hidden = folder / f".{name}"
        hidden.write_bytes(str_to_bytes(dumps(message)))
        hidden.rename(folder / name)
        for found in os.listdir(folder):
            if found.startswith(EAR):
                ring(folder / found)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = self.queue_folder(queue)
        for name in self._waiting(queue):
            mine = folder / f".{name}.{os.getpid()}"
            try:
                (folder / name).rename(mine)
            except FileNotFoundError:
                continue  # another worker took it
            payload = mine.read_bytes()
            mine.unlink()
            return loads(bytes_to_str(payload))
        raise Empty

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self._purge(queue)

    def _purge(self, queue: str) -> int:
        names = self._waiting(queue)
        for name in names:
            (self.queue_folder(queue) / name).unlink(missing_ok=True)
        return len(names)

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))


class Transport(virtual.Transport):
    Channel = Channel
    driver_type = "doorbell"
    driver_name = "doorbell"
    # Between two looks while nothing is heard; Celery itself looks every two seconds.
    polling_interval = 5.0
    is_leaving = False

    def drain_events(
        self, connection: Any, timeout: float | None = None, **kwargs: Any
    ) -> None:
        """Deliver one message; raise TimeoutError if none comes in time."""
        assert self.cycle
        until = math.inf if timeout is None else monotonic() + timeout
        while True:
            with suppress(Empty):
                self.cycle.get(self._deliver, timeout=timeout)
                return
            left = until - monotonic()
            if left <= 0 or self.is_leaving:
                raise TimeoutError
            self._listen(min(left, self.polling_interval))

    def _listen(self, seconds: float) -> None:
        """Wait until something is heard, but not for longer."""
        ears = [ear for channel in self.channels for ear in channel.ears.values()]
        heard = select.poll()
        for ear in ears:
            heard.register(ear.file, select.POLLIN)
        heard.poll(seconds * 1000)
        for ear in ears:
            ear.forget()


def leave() -> None:
    """Wait for no further message, because this process ends."""
    Transport.is_leaving = True
    for ear in list(Ear.listening):
        ear.startle()


TRANSPORT_ALIASES["doorbell"] = "config.broker:Transport"
