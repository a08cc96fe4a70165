"""What keeps automatic incidents from becoming too many: pure functions.

Each gate looks at plain values, so that the same code decides live and replays
history. The order is storm, quota, duplicate, reopen window, cooldown; whatever
refuses first is the reason. No refusal is final: `until` says when to look
again, where that is known.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from .lengths import count, duration

# What becomes of an alert, in the words of alerting.models.Decision.
OPENED, REFUSED, REOPENED = "OPENED", "REFUSED", "REOPENED"

A_DAY: Final = timedelta(days=1)
# So close together must failures begin to be one storm.
STORM_WITHIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rule asks of the time between two incidents of one monitor."""

    reopen: timedelta = timedelta(0)
    cooldown: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class PastIncident:
    """An earlier automatic incident of the same rule and monitor.

    One that was withdrawn (discarded, or deleted by hand) ended then; it is
    never opened again, but the cooldown after it holds.
    """

    began_at: datetime
    ended_at: datetime | None = None
    is_withdrawn: bool = False
    pk: int | None = None

    @property
    def is_open(self) -> bool:
        return self.ended_at is None and not self.is_withdrawn


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says. `of` is the incident that is to be opened again."""

    verdict: str
    gate: str = ""
    reason: str = ""
    until: datetime | None = None
    of: PastIncident | None = None

    @property
    def is_refused(self) -> bool:
        return self.verdict == REFUSED


def judge(
    past: Sequence[PastIncident],
    alert_began_at: datetime,
    at: datetime,
    limits: Limits,
) -> Verdict:
    """Say what becomes of an alert, after the incidents its rule and monitor had.

    Duplicate, then reopen window, then cooldown. `at` is the moment at which the
    incident would be opened, which may be long after the failing began.
    """
    gates = (
        duplicate(past),
        reopening(past, alert_began_at, limits.reopen),
        cooling_down(past, at, limits.cooldown),
    )
    return next((verdict for verdict in gates if verdict), Verdict(OPENED))


def duplicate(past: Iterable[PastIncident]) -> Verdict | None:
    """Refuse while an incident of the same rule and monitor is open."""
    if not any(incident.is_open for incident in past):
        return None
    return Verdict(
        REFUSED,
        "duplicate",
        "Another incident of this rule and monitor is still open; this alert waits "
        "until it is resolved.",
    )


def reopening(
    past: Iterable[PastIncident], alert_began_at: datetime, window: timedelta
) -> Verdict | None:
    """Open the last one again if the failing came back within the window."""
    last = _last(incident for incident in past if not incident.is_withdrawn)
    if last is None or last.ended_at is None:
        return None
    gap = alert_began_at - last.ended_at
    if not window or gap > window:
        return None
    return Verdict(
        REOPENED,
        "reopen",
        f"It failed again {duration(gap)} after the end of its last incident; within "
        f"{duration(window)} that one is opened again.",
        of=last,
    )


def cooling_down(
    past: Iterable[PastIncident], at: datetime, cooldown: timedelta
) -> Verdict | None:
    """Refuse until the cooldown after the end of the last one is over."""
    last = _last(past)
    if last is None or last.ended_at is None or at >= last.ended_at + cooldown:
        return None
    until = last.ended_at + cooldown
    return Verdict(
        REFUSED,
        "cooldown",
        f"Its last incident ended {duration(at - last.ended_at)} ago; the cooldown is "
        f"{duration(cooldown)}, until {_clock(until, at)}.",
        until,
    )


def _last(past: Iterable[PastIncident]) -> PastIncident | None:
    ended = [incident for incident in past if incident.ended_at]
    return max(ended, key=lambda i: i.ended_at or i.began_at, default=None)


def quota(opened: int, limit: int | None, at: datetime) -> Verdict | None:
    """Refuse when the calendar month (UTC) has had as many as it may have."""
    if limit is None or opened < limit:
        return None
    _, until = month_of(at)
    return Verdict(
        REFUSED,
        "quota",
        f"There were {count(opened, 'automatic incident')} this month, as many as the "
        f"settings allow; the next month begins {_clock(until, at)}.",
        until,
    )


def month_of(at: datetime) -> tuple[datetime, datetime]:
    """Return the beginning and the end of the calendar month, in UTC."""
    first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=31)).replace(day=1)


def trips(opened_at: Iterable[datetime], at: datetime, most: int | None) -> bool:
    """Whether a monitor has had as many in 24 hours as it may open by itself."""
    if most is None:
        return False
    return sum(then > at - A_DAY for then in opened_at) >= most


def is_storm(failing: int, active: int, *, at_least: int, percent: int) -> bool:
    """Whether so many of the active monitors fail that it is one story."""
    # Rounded up, in whole numbers.
    share = -(-active * percent // 100)
    return failing >= max(at_least, share)


def joins(newest_join_at: datetime, alert_began_at: datetime) -> bool:
    """Whether an alert belongs to a storm whose newest alert began at a moment."""
    return abs(alert_began_at - newest_join_at) <= STORM_WITHIN


def _clock(then: datetime, at: datetime) -> str:
    """Return "14:30 UTC", with its day if that is another one."""
    then, at = then.astimezone(UTC), at.astimezone(UTC)
    day = "" if then.date() == at.date() else f"{then.day} {then:%B} "
    return f"{day}{then:%H:%M} UTC"
