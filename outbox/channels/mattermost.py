import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from egress.client import Request, Response
from egress.kinds import option

from .base import (
    Content,
    Envelope,
    Notice,
    ServiceChannel,
    cut,
    host,
    markdown,
    parsed,
    timeout_option,
    under,
    unfit,
    unfit_token,
)

# As long as the text of a post may be; Mattermost says nothing of attachments.
MOST_TEXT, MOST_FACT = 16_383, 1000
_ID = re.compile("[a-z0-9]{26}")


@dataclass(frozen=True, kw_only=True)
class MattermostChannel(ServiceChannel):
    """Posts to Mattermost as a bot, in threads, or to an incoming webhook, without.

    https://developers.mattermost.com/api-documentation/#/operations/CreatePost and
    https://developers.mattermost.com/integrate/webhooks/incoming/
    """

    label: ClassVar = "Mattermost"

    api_url: str = option(
        label="Server",
        default="",
        help="https://mattermost.example.com; with a token",
    )
    token: str = option(
        label="Bot token",
        default="",
        secret=True,
        help="The access token of a bot; keeps an alert in one thread",
    )
    channel_id: str = option(
        label="Channel", default="", help="The 26 characters of its ID; with a token"
    )
    url: str = option(
        label="Incoming webhook",
        default="",
        secret=True,
        help="https://mattermost.example.com/hooks/… instead of a token",
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        if bool(self.token) == bool(self.url):
            return {"token": "Give either a bot token or an incoming webhook."}
        if self.url:
            return {"url": unfit(self.url)}
        return {
            "api_url": unfit(self.api_url),
            "token": unfit_token(self.token),
            "channel_id": ""
            if _ID.fullmatch(self.channel_id)
            else "Give the ID: View Info of the channel shows it.",
        }

    def destination(self) -> str:
        if self.url:
            return host(self.url)
        return f"{self.channel_id} at {host(self.api_url)}"

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        text, attachments = escape(notice.headline), [attachment(notice)]
        if self.url:
            body: dict[str, Any] = {"text": text, "attachments": attachments}
            return self.post(self.url, body, envelope)
        body = {
            "channel_id": self.channel_id,
            "message": text,
            "props": {"attachments": attachments},
        }
        if _ID.fullmatch(envelope.thread):
            body["root_id"] = envelope.thread
        return self.post(
            under(self.api_url, "api/v4/posts"),
            body,
            envelope,
            Authorization=f"Bearer {self.token}",
        )

    def reference(self, answer: Response) -> str:
        return str(parsed(answer).get("id") or "")


def attachment(notice: Notice) -> dict[str, Any]:
    """https://developers.mattermost.com/integrate/reference/message-attachments/"""
    made: dict[str, Any] = {
        "fallback": escape(notice.title),
        "color": f"#{notice.colour:06X}",
        "text": cut(notice.text, MOST_TEXT, escape=escape),
        "fields": [
            {
                "short": True,
                "title": name,
                "value": cut(value, MOST_FACT, escape=escape),
            }
            for name, value in notice.facts
        ],
    }
    if notice.link:
        made |= {"title": notice.link_label, "title_link": notice.link}
    return made


def escape(text: str) -> str:
    """Escape Markdown; after each @ comes a space of no width, so that it calls nobody."""
    return markdown(text).replace("@", "@\N{ZERO WIDTH SPACE}")
