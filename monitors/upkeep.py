"""Keeps history in shape: rebuilds what is stale, forgets what is old.

All of it in small transactions, so that no check waits for any of it.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Final

from django.conf import settings
from django.db import connection, models, transaction
from django.utils import timezone

from . import latency
from .instants import instant, ms
from .models import (
    CheckResult,
    FailureEpisode,
    LatencyBucket,
    Monitor,
    MonitorState,
    Pulse,
    Rebuild,
    Status,
    StatusPeriod,
    Turn,
)
from .models.bucket import DAY, HOUR
from .observing import LAPSED, Change, Seen, Standing
from .plans import Plan
from .recording import announce, caused
from .statements import select_rows, update_rows

AT_ONCE: Final = 200  # monitors whose buckets are built in one transaction
DELETED_AT_ONCE: Final = 1000
# Between two steps others get at the database.
PAUSE_SECONDS: Final = 0.02
# Ends of watching that were somebody's doing; history that is read again keeps them.
STOPS: Final = ("paused", "retired")


def run(*, at: datetime, seconds: float) -> bool:
    """Do what is due for at most so long; say whether nothing is left."""
    until = time.monotonic() + seconds
    mark_closed(at)
    for step in _steps(at):
        step()
        if time.monotonic() > until:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def _steps(at: datetime) -> Iterator[Callable[[], object]]:
    periods = Rebuild.objects.filter(what=Rebuild.What.PERIODS)
    for pk in set(periods.values_list("monitor_id", flat=True)):
        yield partial(rebuild_periods, pk, at=at)
    # Days are made of hours.
    yield from _bucket_steps(Rebuild.What.HOUR, latency.build_hours)
    yield from _bucket_steps(Rebuild.What.DAY, latency.build_days)


def _bucket_steps(
    what: str, build: Callable[[list[int], int], None]
) -> Iterator[Callable[[], object]]:
    stale = Rebuild.objects.filter(what=what).order_by("at", "monitor_id")
    for moment, marks in groupby(stale.values_list("at", "monitor_id"), itemgetter(0)):
        ids = iter([pk for _, pk in marks])
        while some := list(islice(ids, AT_ONCE)):
            yield partial(_rebuild, what, some, moment, build)


@transaction.atomic
def _rebuild(
    what: str, ids: list[int], at: datetime, build: Callable[[list[int], int], None]
) -> None:
    # Whoever adds results marks them while holding these rows.
    select_rows(MonitorState, ["monitor"], "monitor", sorted(ids), lock=True)
    build(ids, ms(at))
    Rebuild.objects.filter(what=what, at=at, monitor__in=ids).delete()
    day = ms(at) // DAY * DAY
    if what == Rebuild.What.HOUR and day + DAY <= ms(timezone.now()):
        Rebuild.mark((Rebuild.What.DAY, pk, day) for pk in ids)


def mark_closed(at: datetime) -> None:
    """Mark the buckets of every hour that has ended since the last time."""
    hour = ms(at) // HOUR * HOUR
    pulse = Pulse.objects.filter(pk="hours").first()
    begun = ms(pulse.at) if pulse else hour - HOUR
    oldest = hour - settings.RESULT_RETENTION_DAYS * DAY
    for closed in range(max(begun, oldest), hour, HOUR):
        checked = MonitorState.objects.filter(checked_at__gte=instant(closed))
        with transaction.atomic():
            ids = checked.values_list("pk", flat=True)
            Rebuild.mark((Rebuild.What.HOUR, pk, closed) for pk in ids)
            Pulse.note("hours", at=instant(closed + HOUR))


# Periods, read again from what was observed


@transaction.atomic
def _rebuilt(monitor: Monitor, at: datetime) -> bool:
    select_rows(MonitorState, ["monitor"], "monitor", [monitor.pk], lock=True)
    marks = Rebuild.objects.filter(what=Rebuild.What.PERIODS, monitor=monitor)
    begin = marks.order_by("at").values_list("at", flat=True).first()
    if begin is None:
        return False
    plan = monitor.plan
    standing, start = _stood_before(monitor, ms(begin), plan)
    changes = _read_again(monitor, standing, instant(start), plan)
    changes += standing.lapse(ms(at))
    StatusPeriod.rewind(monitor.pk, start)
    is_first = not monitor.periods.exists()
    if is_first and (not changes or changes[0].at > start):
        # History begins here, though it says nothing yet.
        changes.insert(0, Change(start, Status.NO_DATA, LAPSED))
    StatusPeriod.turn([Turn(monitor.pk, *change) for change in changes])
    if monitor.is_active and not monitor.retired_at:
        _stand(monitor, standing)
    marks.delete()
    return True


def rebuild_periods(pk: int, *, at: datetime) -> bool:
    """Read the results of a monitor again from the oldest mark on."""
    monitor = Monitor.objects.select_related("state").get(pk=pk)
    if not _rebuilt(monitor, at):
        return False
    announce([], {pk})
    return True


def _stood_before(monitor: Monitor, begin: int, plan: Plan) -> tuple[Standing, int]:
    """Return how the monitor stood before a moment, and from when to read on.

    Going back, that is certain after as many results that agree as confirm a
    change, after one of no_data, and where nobody had been looking.
    """
    earlier = monitor.results.filter(checked_at__lt=instant(begin))
    newest_first = earlier.order_by("-checked_at").values_list("checked_at", "status")
    following, last, run, agreed = begin, begin, 0, ""
    for moment, status in newest_first.iterator(chunk_size=200):
        at = ms(moment)
        if plan.holds(at) < following:
            break
        run, last = (run + 1, last) if status == agreed else (1, at)
        agreed, following = status, at
        if run >= plan.confirmations or status == Status.NO_DATA:
            known = Standing(status, last, status, checked_at=last)
            known.fresh_until = plan.holds(last)
            return known, last + 1
    return Standing(), following


def _read_again(
    monitor: Monitor, standing: Standing, start: datetime, plan: Plan
) -> list[Change]:
    changes: list[Change] = []
    for event in _events(monitor, start):
        if isinstance(event, Seen):
            changes += standing.observe(event, plan)
        else:
            changes += standing.lapse(event.at)
            changes += standing.stop(event.at, event.cause)
    return changes


def _events(monitor: Monitor, begin: datetime) -> list[Seen | Change]:
    """Return observations and ends of watching from a moment on, in their order."""
    results = monitor.results.filter(checked_at__gte=begin).order_by("checked_at")
    names = [parent.name for parent in monitor.parents.all()]
    parent = " or ".join(names)
    seen: list[Seen | Change] = [
        Seen(ms(at), status, caused(error, parent if consequence else ""))
        for at, status, error, consequence in results.values_list(
            "checked_at", "status", "error", "is_consequence"
        )
    ]
    stops = monitor.periods.filter(started_at__gte=begin, cause__in=STOPS)
    seen += [
        Change(ms(at), Status.NO_DATA, cause)
        for at, cause in stops.values_list("started_at", "cause")
    ]
    return sorted(seen, key=lambda event: event.at)


def _stand(monitor: Monitor, standing: Standing) -> None:
    """Have the state say what the newest of its history says."""
    newest = monitor.periods.get(ended_at=None)
    standing.status, standing.since = newest.status, ms(newest.started_at)
    names = ("status", "since", "unconfirmed", "unconfirmed_since", "unconfirmed_count")
    values = tuple(getattr(standing, name) for name in names)
    update_rows(MonitorState, ("monitor", *names), [(monitor.pk, *values)])


# Forgetting


def forget(*, at: datetime, seconds: float) -> bool:
    """Delete what is past its retention, a little at a time for so long.

    Says whether nothing is left.
    """
    until = time.monotonic() + seconds
    for step in _forgetting(at):
        if time.monotonic() > until:
            return False
        if step():
            time.sleep(PAUSE_SECONDS)
    return True


def _forgetting(at: datetime) -> Iterator[Callable[[], int]]:
    results = at - timedelta(days=settings.RESULT_RETENTION_DAYS)
    # By whole hours: an hour is rebuilt from all of its results or not at all.
    results = instant(ms(results) // HOUR * HOUR)
    hours = at - timedelta(days=settings.LATENCY_HOURS_DAYS)
    for ids in _in_groups(AT_ONCE):
        yield from _deleting(CheckResult, "checked_at", results, ids)
        yield from _deleting(FailureEpisode, "last_at", results, ids)
        yield from _deleting(
            LatencyBucket, "at", hours, ids, where=f"size = {LatencyBucket.Size.HOUR}"
        )


def _in_groups(size: int) -> Iterator[list[int]]:
    ids = iter(list(Monitor.objects.order_by("pk").values_list("pk", flat=True)))
    while some := list(islice(ids, size)):
        yield some


def _deleting(
    model: type[models.Model],
    name: str,
    before: datetime,
    ids: list[int],
    *,
    where: str = "TRUE",
) -> Iterator[Callable[[], int]]:
    """Yield deletions of old rows of these monitors until none are left."""
    deleted = DELETED_AT_ONCE

    def delete() -> int:
        nonlocal deleted
        deleted = _delete(model, name, before, ids, where)
        return deleted

    while deleted == DELETED_AT_ONCE:
        yield delete


_PLACES: Final = {
    "sqlite": ("rowid", "IN ({})"),
    "postgresql": ("ctid", "= ANY(ARRAY({}))"),
}


def _delete(
    model: type[models.Model], name: str, before: datetime, ids: list[int], where: str
) -> int:
    """Delete some rows by their place in the table, which every database knows."""
    place, among = _PLACES[connection.vendor]
    table = model._meta.db_table
    chosen = (
        f'SELECT {place} FROM "{table}" WHERE monitor_id IN '
        f"({', '.join(['%s'] * len(ids))}) AND {name} < %s AND {where} "
        f"LIMIT {DELETED_AT_ONCE}"
    )
    sql = f'DELETE FROM "{table}" WHERE {place} {among.format(chosen)}'
    with connection.cursor() as cursor:
        cursor.execute(sql, [*ids, ms(before)])
        return cursor.rowcount
