import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape as html_escape
from typing import Any, ClassVar

from egress.client import Request, Response
from egress.kinds import option

from .base import (
    Content,
    Envelope,
    Notice,
    ServiceChannel,
    cut,
    parsed,
    timeout_option,
    under,
    unfit,
    utf16_units,
)

API = "https://api.telegram.org"
MOST_TEXT, MOST_FACT = 4096, 150
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]+")
_CHAT = re.compile(r"-?\d+|@\w+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class TelegramChannel(ServiceChannel):
    """Sends as a bot of Telegram; what follows about an alert replies to its first.

    https://core.telegram.org/bots/api#sendmessage
    """

    label: ClassVar = "Telegram"
    # 400 is also "chat not found": somebody has yet to talk to the bot.
    final: ClassVar = frozenset({410, 413})

    token: str = option(label="Bot token", help="123456:ABC-…", secret=True)
    chat_id: str = option(
        label="Chat", help="The number of a person, group or channel, or @its_name"
    )
    topic_id: int = option(
        label="Topic", default=0, help="The number of a topic in a forum; 0 for none"
    )
    api_url: str = option(label="Address of the API", default=API)
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        fits = _TOKEN.fullmatch(self.token), _CHAT.fullmatch(self.chat_id)
        return {
            "token": "" if fits[0] else "Give the token as BotFather told it.",
            "chat_id": "" if fits[1] else "Give a number, or @ and a name.",
            "topic_id": "" if self.topic_id >= 0 else "Give a number from 0 up.",
            "api_url": unfit(self.api_url),
        }

    def destination(self) -> str:
        return self.chat_id

    def request(self, content: Content, envelope: Envelope) -> Request:
        body: dict[str, Any] = {
            "chat_id": self.chat_id,
            "text": text(Notice.of(content)),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        if self.topic_id:
            body["message_thread_id"] = self.topic_id
        if envelope.thread.isascii() and envelope.thread.isdigit():
            body["reply_parameters"] = {
                "message_id": int(envelope.thread),
                "allow_sending_without_reply": True,
            }
        path = f"bot{self.token}/sendMessage"
        return self.post(under(self.api_url, path), body, envelope)

    def reference(self, answer: Response) -> str:
        return str(_result(answer).get("message_id") or "")

    def refusal(self, answer: Response) -> str:
        said = parsed(answer)
        if said.get("ok") is True:
            return ""
        return str(said.get("description") or "The answer is not one of Telegram's.")

    def pause(self, answer: Response, at: datetime) -> float | None:
        """Telegram writes in its answer how many seconds it asks for."""
        asked = parsed(answer).get("parameters")
        seconds = asked.get("retry_after") if isinstance(asked, Mapping) else None
        if isinstance(seconds, int | float):
            return float(seconds)
        return super().pause(answer, at)


def text(notice: Notice) -> str:
    """Return the notice in Telegram's HTML, of 4096 UTF-16 units at most.

    https://core.telegram.org/bots/api#html-style
    """
    facts = "\n".join(
        f"<b>{name}:</b> {cut(value, MOST_FACT, escape=escape)}"
        for name, value in notice.facts
    )
    title = f"<b>{cut(notice.headline, 400, escape=escape)}</b>"
    link = f'<a href="{html_escape(notice.link)}">{notice.link_label}</a>'
    others = [title, facts, link if notice.link else ""]
    taken = sum(utf16_units(part) + 2 for part in others)
    said = cut(notice.text, MOST_TEXT - taken, escape=escape, size=utf16_units)
    return "\n\n".join(filter(None, [others[0], said, *others[1:]]))


def escape(text: str) -> str:
    return html_escape(text, quote=False)


def _result(answer: Response) -> Mapping[str, Any]:
    result = parsed(answer).get("result")
    return result if isinstance(result, Mapping) else {}
