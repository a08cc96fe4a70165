"""doorbell://, the broker of a single machine: one file a message in a directory.

Like kombu's filesystem transport, except that a message appears whole: there it
is visible while still being written, and a worker that reads half of it dies.
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from queue import Empty
from time import time, time_ns
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

# A worker that is down must not come back to days of rings.
MOST_WAITING = 200


class Channel(virtual.Channel):
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
            with suppress(FileNotFoundError):
                if time() - path.stat().st_mtime > 60:
                    path.unlink()

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


TRANSPORT_ALIASES["doorbell"] = "config.broker:Transport"
