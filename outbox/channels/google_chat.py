from collections.abc import Mapping
from dataclasses import dataclass
from html import escape as html_escape
from typing import Any, ClassVar

from egress.client import Request
from egress.kinds import option

from .base import (
    Content,
    Envelope,
    Notice,
    ServiceChannel,
    cut,
    host,
    json_bytes,
    thread_key,
    timeout_option,
    unfit,
    with_query,
)

# A message is 32,000 bytes at most, all told.
MOST_TEXT, MOST_FACT = 12_000, 400


@dataclass(frozen=True, kw_only=True)
class GoogleChatChannel(ServiceChannel):
    """Posts a card to a webhook of a space in Google Chat, one thread an alert.

    https://developers.google.com/workspace/chat/quickstart/webhooks and
    https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages/create
    """

    label: ClassVar = "Google Chat"

    url: str = option(
        label="Webhook",
        help="https://chat.googleapis.com/v1/spaces/…/messages?key=…&token=…",
        secret=True,
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        return {"url": unfit(self.url)}

    def destination(self) -> str:
        return host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        body: dict[str, Any] = {
            "fallbackText": _unmentioning(notice.headline),
            "cardsV2": [{"cardId": "tocsin", "card": card(notice)}],
        }
        # The same request again returns the message there is, and makes no other.
        query = {"requestId": envelope.key}
        if envelope.topic:
            # We name the thread, so what Google calls it need not be known.
            body["thread"] = {"threadKey": thread_key(content, envelope)}
            query["messageReplyOption"] = "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
        return self.post(with_query(self.url, **query), body, envelope)


def card(notice: Notice) -> dict[str, Any]:
    """Return the notice as a card; its texts are in Google Chat's few tags of HTML.

    https://developers.google.com/workspace/chat/format-messages#card-formatting
    """
    title = f"<b>{escape(notice.headline)}</b>"
    text = cut(notice.text, MOST_TEXT, escape=escape, size=json_bytes)
    widgets = [_paragraph(part) for part in (title, text) if part]
    widgets += [_fact(name, value) for name, value in notice.facts]
    if notice.link:
        opens = {"openLink": {"url": notice.link}}
        button = {"text": notice.link_label, "onClick": opens}
        widgets.append({"buttonList": {"buttons": [button]}})
    return {"sections": [{"widgets": widgets}]}


def escape(text: str) -> str:
    return html_escape(text, quote=False).replace("\n", "<br>")


def _unmentioning(text: str) -> str:
    """Keep <users/all> from being a mention: a space of no width comes after "<"."""
    return text.replace("<", "<\N{ZERO WIDTH SPACE}")


def _paragraph(text: str) -> dict[str, Any]:
    return {"textParagraph": {"text": text}}


def _fact(name: str, value: str) -> dict[str, Any]:
    text = cut(value, MOST_FACT, escape=escape, size=json_bytes)
    return {"decoratedText": {"topLabel": name, "text": text, "wrapText": True}}
