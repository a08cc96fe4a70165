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
    parsed,
    timeout_option,
    under,
    unfit,
    unfit_token,
)

API = "https://slack.com/api"
# https://docs.slack.dev/reference/block-kit/blocks/: of the header, of a section
# and of one field of a section; and how many fields a section has.
MOST_HEADER, MOST_TEXT, MOST_FIELD, MOST_FIELDS = 150, 3000, 2000, 10
_THREAD = re.compile(r"([A-Z0-9]+):(\d+\.\d+)")


@dataclass(frozen=True, kw_only=True)
class SlackChannel(ServiceChannel):
    """Posts to Slack as a bot, in threads, or to an incoming webhook, without.

    https://docs.slack.dev/reference/methods/chat.postMessage and
    https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    """

    label: ClassVar = "Slack"

    token: str = option(
        label="Bot token",
        default="",
        secret=True,
        help="xoxb-…, with the scope chat:write; keeps an alert in one thread",
    )
    channel: str = option(
        label="Channel", default="", help="Its ID, such as C0123456789; with a token"
    )
    broadcast: bool = option(
        label="Replies in the channel, too",
        default=False,
        help="Show what is said in a thread to the whole channel",
    )
    url: str = option(
        label="Incoming webhook",
        default="",
        secret=True,
        help="https://hooks.slack.com/services/… instead of a token; has no threads",
    )
    api_url: str = option(label="Address of the API", default=API)
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        if bool(self.token) == bool(self.url):
            return {"token": "Give either a bot token or an incoming webhook."}
        if self.url:
            return {"url": unfit(self.url)}
        channel = "" if self.channel.strip() else "Give the ID of the channel."
        token, api_url = unfit_token(self.token), unfit(self.api_url)
        return {"token": token, "channel": channel, "api_url": api_url}

    def destination(self) -> str:
        return self.channel if self.token else host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        body: dict[str, Any] = {"text": escape(notice.title), "blocks": blocks(notice)}
        if self.url:
            return self.post(self.url, body, envelope)
        body |= {"unfurl_links": False, "unfurl_media": False}
        return self.post(
            under(self.api_url, "chat.postMessage"),
            body | self._place(envelope.thread),
            envelope,
            Authorization=f"Bearer {self.token}",
        )

    def _place(self, thread: str) -> dict[str, Any]:
        """Where to post: in the thread and the channel it is in, or a new one."""
        if not (known := _THREAD.fullmatch(thread)):
            return {"channel": self.channel}
        place = {"channel": known[1], "thread_ts": known[2]}
        return place | ({"reply_broadcast": True} if self.broadcast else {})

    def reference(self, answer: Response) -> str:
        said = parsed(answer)
        return f"{said.get('channel')}:{said.get('ts')}" if said.get("ts") else ""

    def refusal(self, answer: Response) -> str:
        """Slack refuses with 200 and ok: false, a webhook with a status."""
        said = parsed(answer)
        if self.url or said.get("ok") is True:
            return ""
        return str(said.get("error") or "The answer is not one of Slack's API.")


def blocks(notice: Notice) -> list[dict[str, Any]]:
    """Return the notice in Block Kit: a header, the text, the facts and the link."""
    title = cut(notice.headline, MOST_HEADER)
    made: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title}}
    ]
    if notice.text:
        text = cut(notice.text, MOST_TEXT, escape=escape)
        made.append({"type": "section", "text": _mrkdwn(text)})
    if notice.facts:
        fields = [_field(*fact) for fact in notice.facts[:MOST_FIELDS]]
        made.append({"type": "section", "fields": fields})
    if notice.link:
        link = f"<{escape(notice.link).replace('|', '%7C')}|{notice.link_label}>"
        made.append({"type": "context", "elements": [_mrkdwn(link)]})
    return made


def escape(text: str) -> str:
    """Escape the three characters with which mentions, links and entities begin.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _field(name: str, value: str) -> dict[str, Any]:
    return _mrkdwn(cut(value, MOST_FIELD - len(name) - 3, escape=escape), f"*{name}*\n")


def _mrkdwn(text: str, before: str = "") -> dict[str, Any]:
    """A text in which Slack makes no links and mentions of its own accord."""
    return {"type": "mrkdwn", "text": before + text, "verbatim": True}
