"""What falls due with maintenances, whoever rings: each step is taken once.

Every step is a row with a moment. What was missed while nobody looked is done in
its order, each step at the moment that was planned for it.
"""

import heapq
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from .models import Maintenance, Occurrence, Reminder

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500


def run_due(at: datetime) -> None:
    """Do everything that is due by now."""
    _each(Maintenance.objects.due(at)[:MOST_AT_ONCE], lambda m: m.plan_further(at=at))
    _each(_to_lay(at), lambda one: one.lay())
    _take_steps(at)
    _each(_to_remind(at), lambda one: one.remind(at=at))


def _take_steps(at: datetime) -> None:
    """One step after the other in the order of their moments, whosever they are."""
    stuck: set[int] = set()
    is_more = True
    while is_more:
        rows = list(_due(at, stuck))
        is_more = len(rows) == MOST_AT_ONCE
        # Beyond the last of these there may be others that come first.
        until = rows[-1].due_at if is_more else at
        stuck |= _take_in_order(rows, until or at)


def _take_in_order(rows: Iterable[Occurrence], until: datetime) -> set[int]:
    """Return those whose step could not be taken."""
    waiting = [(row.due_at, row.pk, row) for row in rows]
    heapq.heapify(waiting)
    stuck = set()
    while waiting:
        _, pk, row = heapq.heappop(waiting)
        if not _try(row, lambda one: one.step()):
            stuck.add(pk)
        elif row.due_at and row.due_at <= until:
            heapq.heappush(waiting, (row.due_at, pk, row))
    return stuck


def _to_lay(at: datetime) -> Iterable[Occurrence]:
    near = Occurrence.objects.to_lay(at).select_related("maintenance")
    return near.order_by("starts_at")[:MOST_AT_ONCE]


def _due(at: datetime, stuck: Iterable[int]) -> Iterable[Occurrence]:
    due = Occurrence.objects.due(at).exclude(pk__in=stuck)
    return due.select_related("maintenance").order_by("due_at", "pk")[:MOST_AT_ONCE]


def _to_remind(at: datetime) -> Iterable[Occurrence]:
    due = Reminder.objects.filter(settled_at=None, due_at__lte=at)
    waiting = Occurrence.objects.filter(pk__in=due.values("occurrence"))
    waiting = waiting.select_related("maintenance")
    return waiting.order_by("starts_at")[:MOST_AT_ONCE]


def _each(rows: Iterable[Any], do: Callable[[Any], object]) -> None:
    """Do something with each; one that fails stops no other."""
    for row in rows:
        _try(row, do)


def _try(row: Any, do: Callable[[Any], object]) -> bool:
    """Whether it was done."""
    try:
        return bool(do(row))
    except Exception:
        logger.exception("%s could not be kept", row)
        return False
