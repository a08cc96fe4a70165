import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Final

from egress.kinds import ConfigInvalid, option
from monitors import gauges

from .base import DOWN, UP, Checker, Outcome

# The p95 of fewer checks is the luck of one of them.
FEWEST_CHECKS: Final = 20
MOST_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class TocsinChecker(Checker):
    """Up while Tocsin itself keeps up; down when one of its gauges is over its limit.

    Nothing lies between the two: whoever wants to be warned earlier sets a lower
    limit. Each limit bears the name of its gauge. The latency is how late checks
    start, as p95.
    """

    needs_line: ClassVar[bool] = False

    lateness_p95_ms: float = option(
        label="Lateness of checks, p95",
        default=1000.0,
        help="Milliseconds from when a check is due to its start; 95 of 100 start "
        f"sooner. Judged from {FEWEST_CHECKS} checks in five minutes on",
    )
    oldest_due_monitor_seconds: float = option(
        label="Oldest due monitor",
        default=30.0,
        help="Seconds for which a monitor may be due and no worker take it",
    )
    oldest_unannounced_transition_seconds: float = option(
        label="Oldest unannounced transition",
        default=30.0,
        help="Seconds that an alert may wait for its incident to open or close",
    )
    oldest_unsent_message_seconds: float = option(
        label="Oldest unsent message",
        default=300.0,
        help="Seconds for which a message may be due and not be attempted",
    )
    timeout: float = option(
        label="Timeout", default=10.0, help="Seconds for reading it all, up to 60"
    )

    def __post_init__(self) -> None:
        few = "Give a limit of more than 0."
        errors = {name: few for name in LIMITS if not self.limit(name) > 0}
        if not 0.1 <= self.timeout <= MOST_SECONDS:
            errors["timeout"] = f"Give 0.1 to {MOST_SECONDS:g} seconds."
        if errors:
            raise ConfigInvalid(errors)

    def limit(self, gauge: str) -> float:
        limit: float = getattr(self, gauge)
        return limit

    def run(self) -> Outcome:
        found = gauges.read("checks", *LIMITS)
        lateness = found["lateness_p95_ms"]
        latency = None if math.isnan(lateness) else lateness
        reasons = [self._said(name, found[name]) for name in self.exceeded(found)]
        return Outcome(DOWN if reasons else UP, latency, "; ".join(reasons))

    def exceeded(self, found: Mapping[str, float]) -> list[str]:
        """Return the gauges that are over their limits; nothing read is not over."""
        few = found["checks"] < FEWEST_CHECKS
        judged = [n for n in LIMITS if not (few and n == "lateness_p95_ms")]
        return [name for name in judged if found[name] > self.limit(name)]

    def _said(self, name: str, value: float) -> str:
        gauge, limit = gauges.find(name), self.limit(name)
        over = f"{gauges.said(value - limit)} {gauge.unit} over its limit"
        return (
            f"{gauge.label}: {gauges.said(value)} {gauge.unit}, "
            f"{over} of {gauges.said(limit)} {gauge.unit}"
        )


LIMITS: Final = tuple(f.name for f in fields(TocsinChecker) if f.name != "timeout")
