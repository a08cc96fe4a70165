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
    unfit,
    utf16_units,
    with_query,
)

# https://discord.com/developers/docs/resources/message#embed-object-embed-limits
MOST_CONTENT, MOST_TEXT, MOST_VALUE, MOST_NAME = 2000, 4096, 1024, 100
MOST_EMBED = 6000


@dataclass(frozen=True, kw_only=True)
class DiscordChannel(ServiceChannel):
    """Posts to a webhook of Discord.

    A webhook cannot reply. In a forum each alert gets a post of its own, and what
    else there is to say of it follows there; elsewhere messages follow each other.
    https://discord.com/developers/docs/resources/webhook#execute-webhook
    """

    label: ClassVar = "Discord"

    url: str = option(
        label="Webhook", help="https://discord.com/api/webhooks/…", secret=True
    )
    forum: bool = option(
        label="Forum",
        default=False,
        help="The webhook belongs to a forum: begin a post for each alert",
    )
    thread_id: str = option(
        label="Thread", default="", help="The ID of the one thread to post in, if any"
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        thread = "Give the digits of the ID." if not _is_id(self.thread_id) else ""
        if self.forum and self.thread_id:
            thread = "Leave this empty, or do not have a post begun for each alert."
        return {"url": unfit(self.url), "thread_id": thread if self.thread_id else ""}

    def destination(self) -> str:
        return f"{host(self.url)} {self.thread_id}".strip()

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        body: dict[str, Any] = {
            "content": cut(notice.headline, MOST_CONTENT, escape=escape),
            "embeds": [embed(notice)],
            "allowed_mentions": {"parse": []},
        }
        # Without wait, Discord says yes to a message that it then drops.
        query = {"wait": "true"}
        known = envelope.thread if _is_id(envelope.thread) else ""
        if thread := self.thread_id or (known if self.forum else ""):
            query["thread_id"] = thread
        elif self.forum:
            body["thread_name"] = cut(notice.title, MOST_NAME, size=utf16_units)
        return self.post(with_query(self.url, **query), body, envelope)

    def reference(self, answer: Response) -> str:
        """The post in the forum, which is a channel to Discord."""
        return str(parsed(answer).get("channel_id") or "") if self.forum else ""


def embed(notice: Notice) -> dict[str, Any]:
    """Return the text, facts and link as an embed of 6000 characters at most."""
    made: dict[str, Any] = {
        "color": notice.colour,
        "fields": [
            {"name": name, "value": _cut(value, MOST_VALUE // 4), "inline": True}
            for name, value in notice.facts
        ],
    }
    if notice.link:
        made |= {"title": notice.link_label, "url": notice.link}
    taken = sum(utf16_units(f["name"] + f["value"]) for f in made["fields"])
    room = MOST_EMBED - taken - len(notice.link_label)
    made["description"] = _cut(notice.text or notice.title, min(MOST_TEXT, room))
    return made


def escape(text: str) -> str:
    """Escape Markdown and what begins a mention, a time or an emoji: "<"."""
    return markdown(text).replace("<", r"\<")


def _cut(text: str, most: int) -> str:
    return cut(text, most, escape=escape, size=utf16_units)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()
