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
    thread_key,
    timeout_option,
    under,
    unfit,
    unfit_token,
    with_query,
)

API = "https://api.opsgenie.com"
MOST_MESSAGE, MOST_TEXT, MOST_DETAIL, MOST_ENTITY = 130, 15_000, 500, 512
PRIORITIES: Mapping[str, str] = {"CRITICAL": "P1", "WARNING": "P3"}


@dataclass(frozen=True, kw_only=True)
class OpsgenieChannel(ServiceChannel):
    """Creates, acknowledges and closes alerts of Opsgenie, known by their alias.

    Opsgenie takes a request and answers 202 before it has looked whether there is
    such an alert. https://docs.opsgenie.com/docs/alert-api
    """

    label: ClassVar = "Opsgenie"

    api_key: str = option(
        label="API key", secret=True, help="Of an integration API that may write"
    )
    url: str = option(
        label="Address of the API",
        default=API,
        help="https://api.eu.opsgenie.com in the EU; of Jira Service Management "
        "https://api.atlassian.com/jsm/ops/integration",
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        return {"api_key": unfit_token(self.api_key), "url": unfit(self.url)}

    def destination(self) -> str:
        return host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice, alias = Notice.of(content), thread_key(content, envelope)
        if action := _action(notice):
            path = f"v2/alerts/{alias}/{action}"
            url = with_query(under(self.url, path), identifierType="alias")
            note = cut(notice.body, MOST_TEXT)
            body: dict[str, Any] = {"source": "Tocsin", "note": note}
        else:
            url = under(self.url, "v2/alerts")
            body = {"alias": alias, **created(notice)}
        key = f"GenieKey {self.api_key}"
        return self.post(url, body, envelope, Authorization=key)


def created(notice: Notice) -> dict[str, Any]:
    """Return what an alert says besides its alias."""
    details = {name: cut(value, MOST_DETAIL) for name, value in notice.facts}
    if notice.link:
        details[notice.link_label] = notice.link
    return {
        "message": cut(notice.title, MOST_MESSAGE),
        "description": cut(notice.text, MOST_TEXT),
        "details": details,
        "entity": cut(notice.source, MOST_ENTITY),
        "source": "Tocsin",
        "priority": PRIORITIES.get(notice.level, "P5"),
    }


def _action(notice: Notice) -> str:
    if notice.is_resolved:
        return "close"
    return "acknowledge" if notice.is_acknowledged else ""
