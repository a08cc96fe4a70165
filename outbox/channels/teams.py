from collections.abc import Mapping
from dataclasses import dataclass
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
    timeout_option,
    unfit,
)

# A message is 28 KB at most, all told: bytes of JSON for the text, characters for
# a fact and, as each line is an element of its own, so many lines.
MOST_TEXT, MOST_FACT, MOST_LINES = 10_000, 200, 40
STYLES: Mapping[str, str] = {
    "CRITICAL": "Attention",
    "WARNING": "Warning",
    "RESOLVED": "Good",
    "INFO": "Accent",
}


@dataclass(frozen=True, kw_only=True)
class TeamsChannel(ServiceChannel):
    """Posts an Adaptive Card to a workflow of Microsoft Teams.

    The workflow is made from the template "Post to a channel when a webhook
    request is received". It takes the message and sends it later, so that nothing
    comes back to reply to: there are no threads.
    https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
    """

    label: ClassVar = "Microsoft Teams"

    url: str = option(
        label="Address of the workflow",
        help="https://….logic.azure.com/workflows/…",
        secret=True,
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        return {"url": unfit(self.url)}

    def destination(self) -> str:
        return host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        attachment = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": card(Notice.of(content)),
        }
        body = {"type": "message", "attachments": [attachment]}
        return self.post(self.url, body, envelope)


def card(notice: Notice) -> dict[str, Any]:
    """Return the notice as an Adaptive Card 1.4.

    All texts are of the type TextRun, in which Markdown means nothing, instead of
    being escaped: https://adaptivecards.io/explorer/TextRun.html
    """
    style = STYLES[notice.level]
    title = _run(notice.title, weight="Bolder", size="Large", color=style)
    lines = cut(notice.text, MOST_TEXT, size=json_bytes).split("\n")
    made: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [_paragraph(title), *_text(lines), *map(_fact, notice.facts)],
    }
    if notice.link:
        made["actions"] = [
            {
                "type": "Action.OpenUrl",
                "title": notice.link_label,
                "url": notice.link,
            }
        ]
    return made


def _text(lines: list[str]) -> list[dict[str, Any]]:
    said = [line for line in lines if line.strip()]
    if len(said) > MOST_LINES:
        said = [*said[: MOST_LINES - 1], "…"]
    return [_paragraph(_run(line)) for line in said]


def _fact(fact: tuple[str, str]) -> dict[str, Any]:
    name, value = fact
    return _paragraph(
        _run(f"{name}: ", weight="Bolder"), _run(cut(value, MOST_FACT)), spacing="Small"
    )


def _paragraph(*runs: dict[str, Any], **look: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs), **look}


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **look}
