"""What a condition is made of. Nothing here or beside it knows of Django."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, Protocol


class RuleInvalid(ValueError):
    """The rule cannot be evaluated; the message says why, `field` what is wrong."""

    def __init__(self, text: str, field: str = "alert_value") -> None:
        super().__init__(text)
        self.field = field


class Verdict(Enum):
    FAILS = "fails"
    PASSES = "passes"
    NEITHER = "neither"  # breaks both streaks
    SILENT = "silent"  # says nothing: neither counts nor resets


@dataclass(frozen=True, slots=True)
class Rule:
    """The part of an alert rule that decides, and how its monitor counts.

    Thresholds are numbers of results, or seconds, as `unit` says. `degraded` is
    up, half or down: how degraded time enters an uptime.
    """

    alert_for: str
    alert_value: str
    failure_threshold: int
    success_threshold: int
    unit: str = "CHECKS"
    includes_worse: bool = False
    window_minutes: int = 0
    degraded: str = "up"


class Result(NamedTuple):
    """One observation, as a rule sees it; ids grow in the order of arrival.

    `expires_at` is when the certificate ends that the monitor showed last.
    """

    id: int
    at: datetime
    status: str
    latency_ms: float | None = None
    error: str = ""
    expires_at: datetime | None = None


class Streak(Protocol):
    """How often in a row, and since when, it has failed or passed by now."""

    rule: Rule
    failures: int
    successes: int
    first_failure_at: datetime | None
    first_success_at: datetime | None


UNKNOWN: Final = frozenset({"no_data", "maintenance"})


class Condition(ABC):
    """What one kind of rule asks of each result.

    `judge` may remember what it needs in a window that only it understands;
    `recall` and `keep` read it from bytes and write it.
    """

    # Whether each verdict is final by itself: its window is the threshold.
    is_own_threshold: ClassVar[bool] = False
    # Whether its window begins anew when an alert resolves.
    forgets: ClassVar[bool] = False
    # Whether the rule's window says how long it looks back.
    uses_window: ClassVar[bool] = False

    def __init__(self, rule: Rule) -> None:
        """Read the rule's value; raises RuleInvalid."""
        self.rule = rule

    @abstractmethod
    def judge(self, result: Result, window: Any, is_triggered: bool) -> Verdict:
        """Say what one result means, after all that the window has seen."""

    @abstractmethod
    def observed(self, result: Result, window: Any) -> str:
        """Say in a few words what there was to see; at most 40 characters."""

    @abstractmethod
    def words(self) -> str:
        """Say when it is met: "STATUS is DOWN"."""

    def recall(self, kept: bytes) -> Any:
        return None

    def keep(self, window: Any) -> bytes:
        return b""

    def began(self, window: Any) -> datetime | None:
        """When what the window condemns began, if that is not the first failure."""
        return None

    def failed(self, streak: Streak, result: Result) -> str:
        if self.rule.unit == "CHECKS":
            return f"{counted(streak.failures, 'failure')} in a row"
        return f"failing for {_seconds(streak.first_failure_at, result)}"

    def recovered(self, streak: Streak, result: Result) -> str:
        if self.rule.unit == "CHECKS":
            return f"{counted(streak.successes, 'success')} in a row"
        return f"passing for {_seconds(streak.first_success_at, result)}"

    def fell_short(self, streak: Streak, result: Result) -> str:
        """Why a streak that has ended did not matter."""
        needed = self.rule.failure_threshold
        if self.rule.unit == "CHECKS":
            return f"Only {streak.failures} of {counted(needed, 'failure')} in a row"
        lasted = _seconds(streak.first_failure_at, result)
        return f"It failed for less than {lasted}, of {needed:,} needed"


def counted(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def number(rule: Rule, *, least: float, most: float, what: str) -> float:
    """Read the rule's value as a number; raises RuleInvalid saying what to give."""
    try:
        value = float(rule.alert_value)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise RuleInvalid(f"Give {what}, {least:g} to {most:,.10g}.")
    return value


def _seconds(since: datetime | None, result: Result) -> str:
    lasted = (result.at - since).total_seconds() if since else 0.0
    return counted(max(0, round(lasted)), "second")
