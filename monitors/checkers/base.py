"""What a check is made of. Nothing here or beside it knows of Django."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from egress.client import Request, RequestFailed, Response
from egress.kinds import secrets_of
from egress.masking import mask_headers, mask_text
from egress.transfers import fetch

# How much of an answer is kept for operators.
MOST_KEPT: Final = 4096

UP, DEGRADED, PARTIAL, DOWN = "up", "degraded", "partial", "down"
MAINTENANCE, NO_DATA = "maintenance", "no_data"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found. Latency and its phases are in milliseconds.

    The phases are how long each part took: dns, connect, tls, first_byte and
    transfer, where they are known. The answer is there if it says more, and
    when the certificate ends, in seconds since 1970, if that was looked at.
    """

    status: str
    latency_ms: float | None = None
    error: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    answer: Response | None = None
    expires_at: int | None = None


class Checker(ABC):
    """One way of asking a target whether it is healthy.

    A checker is a frozen dataclass: its fields are the monitor's config, and
    building it validates them, raising egress.kinds.ConfigInvalid.
    """

    timeout: float
    # Whether its failures may be those of our own line.
    needs_line: ClassVar[bool] = True
    # What incidents that it leads to are marked with: "Auto: Uptime".
    badge: ClassVar[str] = "Uptime"

    @abstractmethod
    def run(self) -> Outcome:
        """Ask the target once, within `timeout` seconds, on the calling thread."""


class HTTPLike(Checker):
    """A checker that is one HTTP exchange, so that thousands can share a thread."""

    @abstractmethod
    def request(self) -> Request: ...

    @abstractmethod
    def judge(self, answer: Response | RequestFailed) -> Outcome: ...

    def run(self) -> Outcome:
        try:
            answer = fetch(self.request())
        except RequestFailed as failure:
            return self.judge(failure)
        return replace(self.judge(answer), answer=answer)


def kept(checker: Checker | None, answer: Response | None) -> dict[str, Any]:
    """Return what is kept of an answer: 4 KiB of it, secrets masked."""
    if answer is None:
        return {}
    secrets = secrets_of(checker) if checker else []
    # What is cut off in the middle would not look like a secret any more.
    body = (
        answer.body[: 2 * MOST_KEPT]
        .decode("utf-8", "replace")
        .replace("\x00", "\ufffd")
    )
    return {
        "code": answer.status,
        "headers": _cut(mask_headers(answer.headers)),
        "body": mask_text(body, secrets)[:MOST_KEPT],
    }


def _cut(headers: Mapping[str, str]) -> dict[str, str]:
    """Return as many of the headers as fit, in their order."""
    found, room = {}, MOST_KEPT
    for name, value in headers.items():
        room -= len(name) + len(value)
        if room < 0:
            break
        found[name] = value.replace("\x00", "\ufffd")
    return found
