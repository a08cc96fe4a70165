"""What is checked: answers every request with 200 and closes; run as a process."""

import select
import socket
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def serve(listening: socket.socket, seconds: float) -> None:
    poll = select.epoll()
    clients: dict[int, socket.socket] = {}
    listening.setblocking(False)
    poll.register(listening, select.EPOLLIN)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for descriptor, _ in poll.poll(1.0):
            if descriptor == listening.fileno():
                _accept(listening, poll, clients)
                continue
            client = clients.pop(descriptor)
            poll.unregister(descriptor)
            try:
                if client.recv(65536):
                    client.send(ANSWER)
            except OSError:
                pass
            client.close()


def _accept(
    listening: socket.socket, poll: select.epoll, clients: dict[int, socket.socket]
) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except BlockingIOError:
            return
        client.setblocking(False)
        clients[client.fileno()] = client
        poll.register(client, select.EPOLLIN)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        print(server.getsockname()[1], flush=True)
        serve(server, float(sys.argv[1]))
