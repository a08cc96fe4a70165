"""When failure matters: pure functions on plain values, without Django.

The same function runs live and replays history. Its contract: any split of the
sequence of results gives the same outcome; nothing triggers with fewer results
than the failure threshold; TRIGGERED and RESOLVED alternate; a result that has
been counted, or came before one that has, changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from .conditions import Condition, Result, Rule, RuleInvalid, Verdict, condition_of

__all__ = [
    "Change",
    "Decided",
    "Note",
    "Result",
    "Rule",
    "RuleInvalid",
    "State",
    "decide",
]

TRIGGERED, RESOLVED = "TRIGGERED", "RESOLVED"
THRESHOLD, HOLD = "threshold", "maintenance"

_FAILS, _PASSES = Verdict.FAILS, Verdict.PASSES
_NEITHER, _SILENT = Verdict.NEITHER, Verdict.SILENT


@dataclass(frozen=True, slots=True)
class State:
    """What a rule remembers of a monitor between two results."""

    failures: int = 0
    successes: int = 0
    first_failure_at: datetime | None = None
    is_triggered: bool = False
    through: int = 0  # the id of the newest result that has been counted
    first_success_at: datetime | None = None
    window: bytes = b""  # what the condition has seen, in its own words

    def says_the_same_as(self, other: "State") -> bool:
        """Whether it matters not which of the two is remembered."""
        return replace(self, through=other.through) == other


class Note(NamedTuple):
    """Why failing results made no alert: how many, since when, until when."""

    gate: str
    began_at: datetime
    at: datetime
    reason: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Change:
    """The alert turns: to which state, at which result, and since when it failed."""

    to: str
    result: Result
    began_at: datetime
    reason: str
    observed: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """The state after some results, and the first change they made, if any.

    `still_failing` says that the newest result failed while triggered.
    """

    state: State
    change: Change | None = None
    still_failing: bool = False
    notes: Sequence[Note] = ()


Holds = Sequence[tuple[datetime, datetime | None]]


def decide(
    rule: Rule, state: State, results: Iterable[Result], holds: Holds = ()
) -> Decided:
    """Take results in the order of their ids, up to and with the first change.

    Call again with the state that came out until there is no change. Results
    inside a hold (from, until) neither trigger nor count, and counting starts
    from zero at its end; what is triggered may resolve inside it. Raises
    RuleInvalid for a rule that nobody can judge by.
    """
    run = _Run(rule, condition_of(rule), state)
    for result in results:
        if result.id <= run.through:
            continue
        if change := run.take(result, _hold(result.at, holds)):
            return Decided(run.state(), change, notes=run.notes)
    return Decided(run.state(), still_failing=run.is_failing, notes=run.notes)


def _hold(at: datetime, holds: Holds) -> datetime | None:
    """Return when the hold began that lies over a moment."""
    for begin, end in holds:
        if begin <= at and (end is None or at < end):
            return begin
    return None


_STREAK: Final = {"CHECKS": "in a row", "SECONDS": "seconds"}


class _Run:
    """A state that is being changed, result by result."""

    __slots__ = (
        *("condition", "failures", "first_failure_at", "first_success_at"),
        *("is_failing", "is_triggered", "notes", "rule", "successes", "through"),
        "window",
    )

    def __init__(self, rule: Rule, condition: Condition, state: State) -> None:
        self.rule, self.condition = rule, condition
        self.failures, self.successes = state.failures, state.successes
        self.first_failure_at = state.first_failure_at
        self.first_success_at = state.first_success_at
        self.is_triggered, self.through = state.is_triggered, state.through
        self.window = condition.recall(state.window)
        self.is_failing = False
        self.notes: list[Note] = []

    def state(self) -> State:
        return State(
            failures=self.failures,
            successes=self.successes,
            first_failure_at=self.first_failure_at,
            is_triggered=self.is_triggered,
            through=self.through,
            first_success_at=self.first_success_at,
            window=self.condition.keep(self.window),
        )

    def take(self, result: Result, held: datetime | None) -> Change | None:
        """Count one result; return the change it makes."""
        self.through, self.is_failing = result.id, False
        if held and not self.is_triggered:
            self._rest(result, held)
            return None
        verdict = self.condition.judge(result, self.window, self.is_triggered)
        if verdict is _PASSES:
            return self._pass(result)
        if verdict is _FAILS:
            return self._fail(result, held)
        if verdict is _NEITHER:
            self._break_off(result)
            self.successes, self.first_success_at = 0, None
        return None

    def _pass(self, result: Result) -> Change | None:
        if self.failures:
            self._break_off(result)
        if not self.is_triggered:
            # Of a rule at rest nothing has to be remembered, however long it rests.
            return None
        self.successes += 1
        self.first_success_at = self.first_success_at or result.at
        if not self._reached(self.successes, self.first_success_at, result, _PASSES):
            return None
        reason = self.condition.recovered(self, result)
        change = self._change(RESOLVED, result, result.at, reason)
        self.is_triggered = False
        if self.condition.forgets:
            self.window = self.condition.recall(b"")
        self.successes, self.first_success_at = 0, None
        return change

    def _fail(self, result: Result, held: datetime | None) -> Change | None:
        self.successes, self.first_success_at = 0, None
        self.is_failing = self.is_triggered
        if held:
            self.failures, self.first_failure_at = 0, None
            return None
        self.failures += 1
        self.first_failure_at = self.first_failure_at or result.at
        if self.is_triggered or not self._reached(
            self.failures, self.first_failure_at, result, _FAILS
        ):
            return None
        began = self.condition.began(self.window) or self.first_failure_at
        reason = self.condition.failed(self, result)
        self.is_triggered = True
        return self._change(TRIGGERED, result, min(began, result.at), reason)

    def _change(self, to: str, result: Result, began: datetime, reason: str) -> Change:
        observed = self.condition.observed(result, self.window)
        return Change(to, result, began, reason, observed)

    def _reached(
        self, count: int, since: datetime, result: Result, verdict: Verdict
    ) -> bool:
        """Whether a streak is long enough to matter."""
        if self.condition.is_own_threshold:
            return True
        rule = self.rule
        needed = rule.failure_threshold if verdict is _FAILS else rule.success_threshold
        if rule.unit == "CHECKS":
            return count >= needed
        return (result.at - since).total_seconds() >= needed

    def _rest(self, result: Result, held: datetime) -> None:
        """Count nothing inside a hold, and from zero after it."""
        if self.condition.judge(result, self.window, False) is _FAILS:
            reason = "It fails while alerts are held back"
            self.notes.append(Note(HOLD, held, result.at, reason))
        self.window = self.condition.recall(b"")
        self.failures, self.first_failure_at = 0, None

    def _break_off(self, result: Result) -> None:
        """Note that a streak of failures was too short to matter."""
        if self.failures and self.first_failure_at and not self.is_triggered:
            reason = self.condition.fell_short(self, result)
            began = self.first_failure_at
            self.notes.append(Note(THRESHOLD, began, result.at, reason))
        self.failures, self.first_failure_at = 0, None
