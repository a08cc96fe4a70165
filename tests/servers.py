"""The other side, for real: a web shop, a webhook receiver, a mail server."""

import json
import socket
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WebServer:
    """A web server on 127.0.0.1 whose answer can be changed at any time.

    `requests` holds (method, path, headers, body) of all it was asked.
    """

    def __init__(self):
        self.status, self.body, self.headers = 200, b"ok", {}
        self.delay = 0.0
        self.requests = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                outer.requests.append((self.command, self.path, self.headers, body))
                if outer.delay:
                    outer.released.wait(outer.delay)
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(outer.body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *args): ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *args): ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def bodies(self):
        """What was POSTed, as JSON."""
        return [json.loads(body) for method, _, _, body in self.requests if body]

    def break_down(self):
        self.status = 500

    def recover(self):
        self.status = 200

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Mail:
    to: list[str]
    message: EmailMessage

    @property
    def subject(self):
        return str(self.message["Subject"])

    @property
    def text(self):
        return self.message.get_body(("plain",)).get_content()

    @property
    def html(self):
        return self.message.get_body(("html",)).get_content()


class MailServer:
    """An SMTP server on 127.0.0.1; `mails` holds all it took.

    `answer`, if set, is what it says instead of taking a mail, and
    `answer_to_sender` instead of hearing the sender out.
    """

    def __init__(self):
        self.mails, self.answer, self.answer_to_sender = [], "", ""
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self._controller.start()

    @property
    def port(self):
        return self._controller.port

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.answer_to_sender:
            return self.answer_to_sender
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answer:
            return self.answer
        parsed = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append(Mail(envelope.rcpt_tos, parsed))
        return "250 OK"

    def close(self):
        self._controller.stop()
