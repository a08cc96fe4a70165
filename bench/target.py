"""What is checked: a web server that costs little; run as a process of its own.

python -m bench.target SECONDS prints its port and ends by itself after so long.
It answers each request with 200 and closes the connection; after a request for
/answer/500 with 500, and so on; after one for /n/17/answer/500 only what is asked
at /n/17/. With --hang it accepts, and answers nothing.
"""

import argparse
import select
import socket
import ssl
import time
from typing import Final

BACKLOG: Final = 4096
CONTROL: Final = b"answer/"
PHRASES: Final = {200: "OK", 500: "Internal Server Error"}


class Target:
    def __init__(self, tls: ssl.SSLContext | None, hangs: bool) -> None:
        self._tls, self._hangs = tls, hangs
        self._answer = answer(200)
        # Of paths that have an answer of their own.
        self._answers: dict[bytes, bytes] = {}
        self._poll = select.epoll()
        self._clients: dict[int, socket.socket] = {}

    def serve(self, listening: socket.socket, seconds: float) -> None:
        listening.setblocking(False)
        self._poll.register(listening, select.EPOLLIN)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for descriptor, _ in self._poll.poll(1.0):
                if descriptor == listening.fileno():
                    self._accept(listening)
                else:
                    self._listen_to(descriptor)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except BlockingIOError:
                return
            client.setblocking(False)
            if self._tls:
                client = self._tls.wrap_socket(
                    client, server_side=True, do_handshake_on_connect=False
                )
            self._clients[client.fileno()] = client
            self._poll.register(client, select.EPOLLIN)

    def _listen_to(self, descriptor: int) -> None:
        client = self._clients[descriptor]
        try:
            # Within TLS, this goes on with the handshake where there is one.
            asked = client.recv(65536)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._poll.modify(client, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            asked = b""
        if asked and self._hangs:
            return
        self._take_leave(client, asked)

    def _take_leave(self, client: socket.socket, asked: bytes) -> None:
        """Answer what was asked, if anything was, and close."""
        del self._clients[client.fileno()]
        self._poll.unregister(client)
        try:
            if asked:
                client.send(self.answered(asked))
        except OSError:
            pass
        client.close()

    def answered(self, asked: bytes) -> bytes:
        """What is to be said to this; obey first if it is a command."""
        path = asked.split(b" ", 2)[1]
        if CONTROL in path:
            path, status = path.split(CONTROL)
            if path == b"/":
                self._answer = answer(int(status))
            else:
                self._answers[path] = answer(int(status))
        return self._answers.get(path, self._answer)


def answer(status: int) -> bytes:
    head = f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Length: 2\r\n"
    return f"{head}Connection: close\r\n\r\nok".encode()


def tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # All monitors share this one host. Of hundreds of hosts libcurl would remember
    # few, so that most checks would shake hands in full: let all of them do so.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return context


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.target")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--tls", help="file with key and certificate")
    parser.add_argument("--hang", action="store_true")
    options = parser.parse_args()
    context = tls(options.tls) if options.tls else None
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
        print(listening.getsockname()[1], flush=True)
        Target(context, options.hang).serve(listening, options.seconds)


if __name__ == "__main__":
    main()
