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
    thread_key,
    timeout_option,
    under,
    unfit,
)

API = "https://events.pagerduty.com"
MOST_SUMMARY, MOST_TEXT = 1024, 8000
SEVERITIES: Mapping[str, str] = {"CRITICAL": "critical", "WARNING": "warning"}
_ROUTING_KEY = re.compile("[A-Za-z0-9]{32}")


@dataclass(frozen=True, kw_only=True)
class PagerDutyChannel(ServiceChannel):
    """Triggers, acknowledges and resolves alerts of PagerDuty by Events API v2.

    https://developer.pagerduty.com/docs/send-alert-event
    """

    label: ClassVar = "PagerDuty"

    routing_key: str = option(
        label="Integration key",
        secret=True,
        help="Of an integration Events API v2 of a service",
    )
    url: str = option(
        label="Address of the API",
        default=API,
        help="https://events.eu.pagerduty.com in the EU",
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        fits = _ROUTING_KEY.fullmatch(self.routing_key)
        key = "" if fits else "Give the 32 letters and digits of the integration key."
        return {"routing_key": key, "url": unfit(self.url)}

    def destination(self) -> str:
        return host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        # What PagerDuty said it calls the alert is right even if our address has
        # changed since; what another service called it, before, is not.
        known = envelope.thread if envelope.thread.startswith("tocsin-") else ""
        body: dict[str, Any] = {
            "routing_key": self.routing_key,
            "event_action": _action(notice),
            "dedup_key": known or thread_key(content, envelope),
        }
        if body["event_action"] == "trigger":
            body |= triggered(notice, envelope)
        return self.post(under(self.url, "v2/enqueue"), body, envelope)

    def reference(self, answer: Response) -> str:
        return str(parsed(answer).get("dedup_key") or "")


def triggered(notice: Notice, envelope: Envelope) -> dict[str, Any]:
    """Return what an event that triggers says besides its keys."""
    made: dict[str, Any] = {
        "client": "Tocsin",
        "payload": {
            "summary": cut(notice.title, MOST_SUMMARY),
            "source": cut(notice.source, MOST_SUMMARY),
            "severity": SEVERITIES.get(notice.level, "info"),
            "timestamp": envelope.created_at.isoformat(),
            "custom_details": {
                **dict(notice.facts),
                "Text": cut(notice.text or notice.title, MOST_TEXT),
            },
        },
    }
    if notice.link:
        links = [{"href": notice.link, "text": notice.link_label}]
        made |= {"client_url": notice.link, "links": links}
    return made


def _action(notice: Notice) -> str:
    if notice.is_resolved:
        return "resolve"
    return "acknowledge" if notice.is_acknowledged else "trigger"
