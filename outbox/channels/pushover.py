import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

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
)

API = "https://api.pushover.net"
# Characters of https://pushover.net/api#limits, and seconds of #priority.
MOST_TITLE, MOST_TEXT, MOST_URL = 250, 1024, 512
LEAST_RETRY, MOST_EXPIRE = 30, 10_800
_KEY = re.compile("[A-Za-z0-9]{30}")
_ASK = "Give the 30 letters and digits that Pushover shows."


@dataclass(frozen=True, kw_only=True)
class PushoverChannel(ServiceChannel):
    """Pushes to a user or group of Pushover, which knows no threads.

    https://pushover.net/api
    """

    label: ClassVar = "Pushover"
    # Pushover locks out who repeats what it refused with 4xx
    # (https://pushover.net/api#friendly); only these two pass by themselves.
    final: ClassVar = frozenset(range(400, 500)) - {408, 429}

    token: str = option(label="Token of the application", secret=True)
    user: str = option(label="Key of the user or group", secret=True)
    device: str = option(
        label="Devices", default="", help="Names with commas; all of them if empty"
    )
    emergency: bool = option(
        label="Emergency",
        default=False,
        help="Ring for CRITICAL again and again, until somebody acknowledges",
    )
    retry: int = option(
        label="Ring again", default=60, help="Seconds between rings, from 30 up"
    )
    expire: int = option(
        label="Ring for", default=3600, help="Seconds until it gives up, up to 10800"
    )
    api_url: str = option(label="Address of the API", default=API)
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        rings = 1 <= self.expire <= MOST_EXPIRE
        return {
            "token": "" if _KEY.fullmatch(self.token) else _ASK,
            "user": "" if _KEY.fullmatch(self.user) else _ASK,
            "retry": "" if self.retry >= LEAST_RETRY else "Give 30 seconds or more.",
            "expire": "" if rings else "Give 1 to 10800 seconds.",
            "api_url": unfit(self.api_url),
        }

    def destination(self) -> str:
        return self.device or "all devices"

    def request(self, content: Content, envelope: Envelope) -> Request:
        notice = Notice.of(content)
        body = {
            "token": self.token,
            "user": self.user,
            "title": cut(notice.headline, MOST_TITLE),
            "message": cut(notice.body, MOST_TEXT),
            "timestamp": str(int(envelope.created_at.timestamp())),
            **self._urgency(notice),
        }
        if self.device:
            body["device"] = self.device
        if notice.link and len(notice.link) <= MOST_URL:
            body |= {"url": notice.link, "url_title": notice.link_label}
        return self.post_form(under(self.api_url, "1/messages.json"), body, envelope)

    def _urgency(self, notice: Notice) -> dict[str, str]:
        """Priority 1 rings at night, too; 2 has to be acknowledged."""
        if notice.level != "CRITICAL":
            return {"priority": "0"}
        if not self.emergency:
            return {"priority": "1"}
        return {
            "priority": "2",
            "retry": str(self.retry),
            "expire": str(self.expire),
        }

    def refusal(self, answer: Response) -> str:
        if (said := parsed(answer)).get("status") == 1:
            return ""
        return str(said.get("errors") or "The answer is not one of Pushover's API.")
