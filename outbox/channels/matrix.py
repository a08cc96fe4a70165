from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape as html_escape
from typing import Any, ClassVar
from urllib.parse import quote

from egress.client import Request, Response
from egress.kinds import option

from .base import (
    Content,
    Envelope,
    Notice,
    ServiceChannel,
    cut,
    host,
    json_bytes,
    parsed,
    timeout_option,
    under,
    unfit,
    unfit_token,
)

# An event is 65,536 bytes at most, and the text is in it twice, once as HTML.
MOST_TEXT, MOST_FACT = 6000, 500


@dataclass(frozen=True, kw_only=True)
class MatrixChannel(ServiceChannel):
    """Sends to a room of Matrix, one thread an alert. The room is not encrypted.

    https://spec.matrix.org/v1.11/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
    """

    label: ClassVar = "Matrix"

    url: str = option(label="Homeserver", help="https://matrix.example.com")
    token: str = option(
        label="Access token", secret=True, help="Of an account that is in the room"
    )
    room: str = option(label="Room", help="Its ID, such as !abcdef:example.com")
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        is_room = self.room.startswith("!") and len(self.room) > 1
        return {
            "url": unfit(self.url),
            "token": unfit_token(self.token),
            "room": "" if is_room else "Give the ID, which begins with !.",
        }

    def destination(self) -> str:
        return f"{self.room} at {host(self.url)}"

    def request(self, content: Content, envelope: Envelope) -> Request:
        """The transaction is named by the message's key: a repeated one is known."""
        place = f"rooms/{quote(self.room, safe='')}/send/m.room.message"
        path = f"_matrix/client/v3/{place}/{quote(envelope.key, safe='')}"
        return self.post(
            under(self.url, path),
            event(Notice.of(content)) | relation(envelope.thread),
            envelope,
            method="PUT",
            Authorization=f"Bearer {self.token}",
        )

    def reference(self, answer: Response) -> str:
        return str(parsed(answer).get("event_id") or "")

    def refusal(self, answer: Response) -> str:
        return "" if self.reference(answer) else "The answer names no event."

    def pause(self, answer: Response, at: datetime) -> float | None:
        """Older homeservers write milliseconds in their answer, and no header."""
        if isinstance(asked := parsed(answer).get("retry_after_ms"), int | float):
            return asked / 1000
        return super().pause(answer, at)


def event(notice: Notice) -> dict[str, Any]:
    """Return the notice as m.text, which rings; m.notice, made for bots, does not.

    It mentions nobody, whatever its texts say.
    """
    text = cut(notice.text, MOST_TEXT, size=json_bytes)
    facts = [
        (name, cut(value, MOST_FACT, size=json_bytes)) for name, value in notice.facts
    ]
    plain = [notice.headline, text, "\n".join(f"{n}: {v}" for n, v in facts)]
    html = [f"<strong>{escape(notice.headline)}</strong>", escape(text)]
    html.append("<br>".join(f"<b>{n}:</b> {escape(v)}" for n, v in facts))
    if notice.link:
        plain.append(notice.link)
        html.append(f'<a href="{html_escape(notice.link)}">{notice.link_label}</a>')
    return {
        "msgtype": "m.text",
        "body": "\n\n".join(filter(None, plain)),
        "format": "org.matrix.custom.html",
        "formatted_body": "".join(f"<p>{part}</p>" for part in html if part),
        "m.mentions": {},
    }


def relation(thread: str) -> dict[str, Any]:
    """Put an event into the thread that begins with the named one.

    https://spec.matrix.org/v1.11/client-server-api/#threading
    """
    if not thread.startswith("$"):
        return {}
    return {
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": thread,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": thread},
        }
    }


def escape(text: str) -> str:
    return html_escape(text, quote=False).replace("\n", "<br>")
