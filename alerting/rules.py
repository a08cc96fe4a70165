"""When failure matters: pure functions on plain values, without Django.

The same function runs live and replays history. Its contract: any split of the
sequence of results gives the same outcome; nothing triggers with fewer than
`failure_threshold` results; TRIGGERED and RESOLVED alternate.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

TRIGGERED, RESOLVED = "TRIGGERED", "RESOLVED"

# Which observed statuses fail a STATUS rule of each value; exact, as in the
# peers: a rule on DEGRADED does not see DOWN.
STATUS_VALUES = {
    "DOWN": frozenset({"down"}),
    "DEGRADED": frozenset({"degraded", "partial"}),
}


class RuleInvalid(ValueError):
    """The rule cannot be evaluated; the message says why."""


class Verdict(Enum):
    FAILS = "fails"
    PASSES = "passes"
    NEITHER = "neither"  # breaks both streaks
    SILENT = "silent"  # says nothing: neither counts nor resets


@dataclass(frozen=True, slots=True)
class Rule:
    """The part of an alert rule that decides. Thresholds are numbers of results."""

    alert_for: str
    alert_value: str
    failure_threshold: int
    success_threshold: int

    def verdict(self, result: "Result") -> Verdict:
        """Judge one result. Raises RuleInvalid for a rule nobody can judge by."""
        if self.alert_for != "STATUS" or self.alert_value not in STATUS_VALUES:
            raise RuleInvalid(
                f"There is no rule on {self.alert_for} {self.alert_value}."
            )
        if result.status in ("no_data", "maintenance"):
            return Verdict.SILENT
        if result.status in STATUS_VALUES[self.alert_value]:
            return Verdict.FAILS
        return Verdict.PASSES if result.status == "up" else Verdict.NEITHER


@dataclass(frozen=True, slots=True)
class Result:
    """One observation, as a rule sees it; ids grow in the order of arrival."""

    id: int
    at: datetime
    status: str
    latency_ms: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What a rule remembers of a monitor between two results."""

    failures: int = 0
    successes: int = 0
    first_failure_at: datetime | None = None
    is_triggered: bool = False
    through: int = 0  # the id of the newest result that has been counted

    def says_the_same_as(self, other: "State") -> bool:
        """Whether it matters not which of the two is remembered."""
        return replace(self, through=other.through) == other


@dataclass(frozen=True, slots=True)
class Change:
    """The alert turns: to which state, at which result, and since when it failed."""

    to: str
    result: Result
    began_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The state after some results, and the first change they made, if any.

    `still_failing` says that the newest result failed while triggered.
    """

    state: State
    change: Change | None = None
    still_failing: bool = False


Holds = Sequence[tuple[datetime, datetime | None]]


def decide(
    rule: Rule, state: State, results: Iterable[Result], holds: Holds = ()
) -> Decided:
    """Take results in the order of their ids, up to and with the first change.

    Call again with the state that came out until there is no change. Results
    inside a hold (from, until) neither trigger nor count, and counting starts
    from zero at its end; what is triggered may resolve inside it.
    """
    still_failing = False
    for result in results:
        if result.id <= state.through:
            continue
        verdict = rule.verdict(result)
        held = any(b <= result.at and (e is None or result.at < e) for b, e in holds)
        state = _count(state, result, verdict, held)
        still_failing = state.is_triggered and verdict is Verdict.FAILS
        if change := _change(rule, state, result):
            return Decided(_turned(state, change), change)
    return Decided(state, still_failing=still_failing)


def _count(state: State, result: Result, verdict: Verdict, held: bool) -> State:
    state = replace(state, through=result.id)
    if verdict is Verdict.SILENT:
        return state
    if verdict is Verdict.PASSES:
        # Of a rule at rest nothing has to be remembered, however long it rests.
        successes = state.successes + 1 if state.is_triggered else 0
        return replace(state, failures=0, first_failure_at=None, successes=successes)
    if verdict is Verdict.FAILS and not held:
        return replace(
            state,
            failures=state.failures + 1,
            first_failure_at=state.first_failure_at or result.at,
            successes=0,
        )
    return replace(state, failures=0, first_failure_at=None, successes=0)


def _change(rule: Rule, state: State, result: Result) -> Change | None:
    if not state.is_triggered and state.failures >= rule.failure_threshold:
        began = state.first_failure_at or result.at
        reason = f"{state.failures} failures in a row"
        return Change(TRIGGERED, result, began, reason)
    if state.is_triggered and state.successes >= rule.success_threshold:
        reason = f"{state.successes} successes in a row"
        return Change(RESOLVED, result, result.at, reason)
    return None


def _turned(state: State, change: Change) -> State:
    """A change starts the streak towards the next one from zero."""
    triggered = change.to == TRIGGERED
    if triggered:
        return replace(state, is_triggered=True, successes=0)
    return replace(state, is_triggered=False, failures=0, first_failure_at=None)
