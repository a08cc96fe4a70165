"""Results that others have observed, in any order and as late as they like."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from celery import current_app
from django.conf import settings
from django.db import connection, transaction

from .checkers import Outcome
from .instants import ms
from .models import CheckResult, Monitor, MonitorState, Rebuild
from .models.bucket import DAY, HOUR, Stale
from .observing import Standing
from .plans import Plan, plans_of
from .recording import (
    MOST_AHEAD_MS,
    MOST_LATE_MS,
    STANDING,
    VALUES,
    Flush,
    Parents,
    Recorded,
    announce,
)
from .statements import select_rows

# Rows of one transaction: it holds the write lock of SQLite.
AT_ONCE: Final = 1000

PUSHED_STATUSES: Final = ("up", "degraded", "partial", "down", "no_data")
MOST_LATENCY_MS: Final = 2_000_000.0

_STATE: Final = ("monitor", "last_result", "latency_ms", "error", *STANDING)


@dataclass(frozen=True, slots=True)
class Pushed:
    """One row of a request; `index` is its place in it."""

    index: int
    tag: str
    checked_at: datetime
    outcome: Outcome


class RowInvalid(ValueError):
    """A row cannot be read; the message says what to give instead."""


_FIELDS: Final = ("monitor", "checked_at", "status", "latency_ms", "error")


def pushed_row(index: int, row: Any) -> Pushed:
    """Read one row of a request. Raises RowInvalid.

    By hand: ten thousand rows through a serializer would take seconds.
    """
    if not isinstance(row, dict):
        raise RowInvalid("Give an object with monitor, checked_at and status.")
    if unknown := row.keys() - set(_FIELDS):
        known = ", ".join(_FIELDS)
        raise RowInvalid(f"There is no field {min(unknown)}; there are {known}.")
    if row.get("status") not in PUSHED_STATUSES:
        raise RowInvalid(f"status: choose one of {', '.join(PUSHED_STATUSES)}.")
    tag, error = row.get("monitor"), row.get("error", "")
    if not isinstance(tag, str) or not tag:
        raise RowInvalid("monitor: give the tag of a monitor.")
    if not isinstance(error, str) or "\x00" in error:
        raise RowInvalid("error: give a text without NUL characters.")
    outcome = Outcome(row["status"], _latency(row.get("latency_ms")), error)
    return Pushed(index, tag, _moment(row.get("checked_at")), outcome)


def _latency(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise RowInvalid("latency_ms: give a number of milliseconds, or null.")
    if not 0 <= given <= MOST_LATENCY_MS:
        raise RowInvalid(f"latency_ms: give 0 to {MOST_LATENCY_MS:,.0f}.")
    return float(given)


def _moment(given: Any) -> datetime:
    """Read a moment; without an offset it is one of UTC."""
    try:
        at = datetime.fromisoformat(given)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise RowInvalid(
            "checked_at: give a moment such as 2026-11-20T10:00:00Z."
        ) from None


@dataclass(slots=True)
class Receipt:
    """What became of the rows of a request."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Row:
    plan: Plan
    is_active: bool
    at: int
    outcome: Outcome

    def drives_rules(self, now: int) -> bool:
        """Whether it is recent enough to say how the monitor is."""
        speaks = max(self.plan.schedule.holds(self.at), self.at + MOST_LATE_MS)
        return self.is_active and speaks > now


def push(pushed: Sequence[Pushed], *, by: int | None, at: datetime) -> Receipt:
    """Store what has been observed elsewhere; the first of a moment wins.

    When this returns, all that is accepted is stored. Recent rows drive status
    and rules as checks do; older ones are history.
    """
    receipt = Receipt()
    rows = _known(pushed, receipt, ms(at))
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        recorded, changed = _store(some, receipt, by, ms(at))
        announce(recorded, changed)
    receipt.refused.sort()
    return receipt


def _known(pushed: Sequence[Pushed], receipt: Receipt, now: int) -> list[_Row]:
    """Leave out what cannot be taken, with the reason; the oldest come first."""
    monitors = {
        m.tag: m
        for m in Monitor.objects.current()
        .filter(tag__in={p.tag for p in pushed})
        .select_related("state")
    }
    plans = plans_of({m.pk: m.state.revision for m in monitors.values()})
    oldest = now - settings.RESULT_RETENTION_DAYS * DAY
    rows: dict[tuple[int, int], _Row] = {}
    for one in pushed:
        monitor, at = monitors.get(one.tag), ms(one.checked_at)
        if monitor is None or monitor.pk not in plans:
            receipt.refused.append((one.index, f"There is no monitor {one.tag}."))
        elif at > now + MOST_AHEAD_MS:
            reason = "It lies more than 5 minutes ahead; is the clock right?"
            receipt.refused.append((one.index, reason))
        elif at < oldest:
            reason = f"It is older than {settings.RESULT_RETENTION_DAYS} days."
            receipt.refused.append((one.index, reason))
        elif (monitor.pk, at) in rows:
            receipt.duplicates += 1
        else:
            plan = plans[monitor.pk]
            rows[monitor.pk, at] = _Row(plan, monitor.is_active, at, one.outcome)
    return sorted(rows.values(), key=lambda row: (row.plan.pk, row.at))


@transaction.atomic
def _store(
    rows: Sequence[_Row], receipt: Receipt, by: int | None, now: int
) -> tuple[list[Recorded], set[int]]:
    # Whoever records or rebuilds holds these rows, too.
    ids = sorted({row.plan.pk for row in rows})
    states = {
        row[0]: row[1:]
        for row in select_rows(MonitorState, _STATE, "monitor", ids, lock=True)
    }
    there = _there_already(rows)
    fresh = [row for row in rows if (row.plan.pk, row.at) not in there]
    receipt.accepted += len(fresh)
    receipt.duplicates += len(rows) - len(fresh)
    parents = Parents((row.plan, row.outcome) for row in fresh)
    flush = Flush(by, _STATE)
    stale: set[Stale] = set()
    for pk, some in _by_monitor(fresh):
        stale |= _take(flush, states[pk], some, parents, now)
    flush.write()
    if stale:
        Rebuild.mark(sorted(stale))
        current_app.ring("monitors.tasks.upkeep")
    return flush.recorded, {t.monitor_id for t in flush.turns}


def _by_monitor(rows: Sequence[_Row]) -> Iterator[tuple[int, list[_Row]]]:
    found: dict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row.plan.pk].append(row)
    yield from found.items()


def _take(
    flush: Flush,
    state: tuple[Any, ...],
    rows: Sequence[_Row],
    parents: Parents,
    now: int,
) -> set[Stale]:
    """Take the rows of one monitor; return what of its history is stale then."""
    last, latency, error, *rest = state
    standing = Standing(*rest)
    stale: set[Stale] = set()
    for row in rows:
        plan, outcome, at = row.plan, row.outcome, row.at
        parent = parents.down(plan, outcome)
        drives = row.drives_rules(now)
        last += drives
        flush.store(plan, last if drives else 0, at, outcome, parent)
        is_next = drives and at > (standing.checked_at or 0)
        if not is_next or at < standing.since:
            # It lies within what is written already, or before all of it.
            stale.add((Rebuild.What.PERIODS, plan.pk, at))
        if is_next:
            flush.observe(plan, standing, at, outcome, parent)
            latency, error = outcome.latency_ms, outcome.error[:500]
        if at // HOUR < now // HOUR:
            stale.add((Rebuild.What.HOUR, plan.pk, at // HOUR * HOUR))
    flush.states.append((rows[0].plan.pk, last, latency, error, *VALUES(standing)))
    return _least(stale)


def _least(stale: set[Stale]) -> set[Stale]:
    """Periods are rebuilt from the oldest moment on; one mark is enough."""
    begins = [at for what, _, at in stale if what == Rebuild.What.PERIODS]
    others = {mark for mark in stale if mark[0] != Rebuild.What.PERIODS}
    pk = next(iter(stale))[1] if stale else 0
    return others | ({(Rebuild.What.PERIODS, pk, min(begins))} if begins else set())


def _there_already(rows: Sequence[_Row]) -> set[tuple[int, int]]:
    if not rows:
        return set()
    # Whole numbers of our own making, so they can stand in the statement.
    keys = ", ".join(f"({row.plan.pk}, {row.at})" for row in rows)
    sql = (
        f"WITH new (monitor_id, checked_at) AS (VALUES {keys}) "
        "SELECT known.monitor_id, known.checked_at FROM new "
        f'JOIN "{CheckResult._meta.db_table}" AS known '
        "ON known.monitor_id = new.monitor_id AND known.checked_at = new.checked_at"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return set(cursor.fetchall())
