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
    host,
    timeout_option,
    under,
    unfit,
    unfit_token,
)

# From 8 on the Android app rings and vibrates, from 4 on it rings.
PRIORITIES: Mapping[str, int] = {"CRITICAL": 8, "WARNING": 5}


@dataclass(frozen=True, kw_only=True)
class GotifyChannel(ServiceChannel):
    """Sends to an application of a Gotify server; Gotify knows no threads.

    https://gotify.net/docs/pushmsg and https://gotify.net/docs/msgextras
    """

    label: ClassVar = "Gotify"

    url: str = option(label="Server", help="https://gotify.example.com")
    token: str = option(
        label="Token of the application", secret=True, help="Not that of a client"
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        return {"url": unfit(self.url), "token": unfit_token(self.token)}

    def destination(self) -> str:
        return host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        extras: dict[str, Any] = {"client::display": {"contentType": "text/plain"}}
        if notice.link:
            extras["client::notification"] = {"click": {"url": notice.link}}
        body = {
            "title": notice.headline,
            "message": notice.body,
            "priority": PRIORITIES.get(notice.level, 4),
            "extras": extras,
        }
        headers = {"X-Gotify-Key": self.token}
        return self.post(under(self.url, "message"), body, envelope, **headers)
