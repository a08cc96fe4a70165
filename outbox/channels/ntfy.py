import re
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
    thread_key,
    timeout_option,
    unfit,
    unfit_token,
)

SERVER = "https://ntfy.sh"
# A message is 4096 bytes at most and all of the JSON twice that, so count both.
MOST_TEXT, MOST_TITLE = 4096, 500
# 1 to 5, of which 3 is the usual; and https://docs.ntfy.sh/emojis/.
PRIORITIES: Mapping[str, int] = {"CRITICAL": 5, "WARNING": 4}
TAGS: Mapping[str, str] = {
    "CRITICAL": "rotating_light",
    "WARNING": "warning",
    "RESOLVED": "white_check_mark",
    "INFO": "information_source",
}
_TOPIC = re.compile("[-_A-Za-z0-9]{1,64}")


@dataclass(frozen=True, kw_only=True)
class NtfyChannel(ServiceChannel):
    """Publishes to a topic of ntfy; what follows about an alert replaces its first.

    The form is https://docs.ntfy.sh/publish/#publish-as-json, so that no text is
    in a header; what is replaced is told by a sequence ID, from ntfy 2.16 on.
    """

    label: ClassVar = "ntfy"

    url: str = option(label="Server", default=SERVER)
    topic: str = option(
        label="Topic",
        secret=True,
        help="Who knows the name can read it, unless the server guards it",
    )
    token: str = option(
        label="Access token", default="", secret=True, help="tk_…, if it takes one"
    )
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        fits = _TOPIC.fullmatch(self.topic)
        return {
            "url": unfit(self.url),
            "topic": "" if fits else "Give up to 64 letters, digits, - and _.",
            "token": unfit_token(self.token) if self.token else "",
        }

    def destination(self) -> str:
        return host(self.url)

    def request(self, content: Content, envelope: Envelope) -> Request:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        body = {"topic": self.topic, **published(Notice.of(content))}
        if envelope.topic:
            body["sequence_id"] = thread_key(content, envelope)
        return self.post(self.url, body, envelope, **headers)


def published(notice: Notice) -> dict[str, Any]:
    made: dict[str, Any] = {
        "title": cut(notice.title, MOST_TITLE, size=json_bytes),
        "message": cut(notice.body, MOST_TEXT, size=json_bytes),
        "priority": PRIORITIES.get(notice.level, 3),
        "tags": [TAGS[notice.level]],
    }
    if notice.link:
        action = {"action": "view", "label": notice.link_label, "url": notice.link}
        made |= {"click": notice.link, "actions": [action]}
    return made
