"""Where webhooks go: notes when each has arrived; run as a process of its own.

python -m bench.receiver SECONDS FILE prints its port and ends by itself after so
long. For each webhook it writes a line to the file: when its last byte was read, its
key, the monitor and the state that it tells of, and the number of the incident or 0.
Then it answers with 200 and keeps
the connection; with --delay it does so that many seconds later.
"""

import argparse
import json
import re
import select
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

BACKLOG: Final = 4096
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
KEY: Final = re.compile(rb"\r\nidempotency-key: *(\S+)", re.IGNORECASE)
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Arrival(NamedTuple):
    """A webhook that has arrived: when, in seconds since 1970, and what it tells."""

    at: float
    key: str
    tag: str
    state: str
    incident: int


class Asked(NamedTuple):
    """One whole request."""

    key: str
    body: bytes


class Receiver:
    def __init__(self, notes: IO[str], delay: float) -> None:
        self._notes, self._delay = notes, delay
        self._poll = select.epoll()
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        # Who waits for an answer, and until when; all wait equally long.
        self._waiting: deque[tuple[float, socket.socket]] = deque()

    def serve(self, listening: socket.socket, seconds: float) -> None:
        listening.setblocking(False)
        self._poll.register(listening, select.EPOLLIN)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for descriptor, _ in self._poll.poll(self._pause()):
                if descriptor == listening.fileno():
                    self._accept(listening)
                else:
                    self._listen_to(descriptor)
            self._answer_due()

    def _pause(self) -> float:
        """How long nothing is to be done, in seconds."""
        if not self._waiting:
            return 1.0
        return min(1.0, max(0.0, self._waiting[0][0] - time.monotonic()))

    def _accept(self, listening: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                client, _ = listening.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients[client.fileno()] = client, bytearray()
                self._poll.register(client, select.EPOLLIN)

    def _listen_to(self, descriptor: int) -> None:
        client, read = self._clients[descriptor]
        try:
            more = client.recv(65536)
        except OSError:
            more = b""
        if not more:
            self._poll.unregister(client)
            del self._clients[descriptor]
            client.close()
            return
        at, ready = time.time(), time.monotonic() + self._delay
        read += more
        if asked := whole(bytes(read)):
            read.clear()
            self._waiting.append((ready, client))
            self._note(at, asked)

    def _note(self, at: float, asked: Asked) -> None:
        told = json.loads(asked.body)
        tag, state = told["monitor"]["tag"], told["alert"]["state"]
        incident = (told["incident"] or {"id": 0})["id"]
        self._notes.write(f"{at:.6f} {asked.key} {tag} {state} {incident}\n")

    def _answer_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, client = self._waiting.popleft()
            with suppress(OSError):  # it has left
                client.send(ANSWER)


def whole(read: bytes) -> Asked | None:
    """What is asked, once its last byte is there; nobody asks twice at once."""
    head, end, body = read.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    if not end or len(body) < (int(length[1]) if length else 0):
        return None
    key = KEY.search(head)
    return Asked(key[1].decode() if key else "-", body)


def arrivals(notes: Path) -> list[Arrival]:
    """What a receiver has written down until now."""
    *lines, _ = notes.read_text().split("\n")  # the last one is still being written
    return [
        Arrival(float(at), key, tag, state, int(incident))
        for at, key, tag, state, incident in (line.split() for line in lines)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.receiver")
    parser.add_argument("seconds", type=float)
    parser.add_argument("file", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds")
    options = parser.parse_args()
    with (
        options.file.open("w", buffering=1) as notes,
        socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening,
    ):
        print(listening.getsockname()[1], flush=True)
        Receiver(notes, options.delay).serve(listening, options.seconds)


if __name__ == "__main__":
    main()
