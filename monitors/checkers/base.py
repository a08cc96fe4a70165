"""What a check is made of. Nothing here or beside it knows of Django."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from egress.client import Request, RequestFailed, Response, send

UP, DEGRADED, PARTIAL, DOWN = "up", "degraded", "partial", "down"
MAINTENANCE, NO_DATA = "maintenance", "no_data"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found. Latency and its phases are in milliseconds."""

    status: str
    latency_ms: float | None = None
    error: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)


class Checker(ABC):
    """One way of asking a target whether it is healthy.

    A checker is a frozen dataclass: its fields are the monitor's config, and
    building it validates them, raising egress.kinds.ConfigInvalid.
    """

    timeout: float

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
            return self.judge(send(self.request()))
        except RequestFailed as failure:
            return self.judge(failure)
