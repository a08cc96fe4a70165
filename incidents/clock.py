"""What falls due with maintenances, whoever rings: each step is taken once.

Every step is a row with a moment. What was missed while nobody looked is done in
its order, each step at the moment that was planned for it.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from .models import Maintenance, Occurrence, Reminder

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500


def run_due(at: datetime) -> None:
    """Do everything that is due by now."""
    _each(_to_lay(at), lambda one: one.lay())
    _each(_due(at), lambda one: one.run_due(at))
    _each(_to_remind(at), lambda one: one.remind(at=at))
    _each(Maintenance.objects.due(at)[:MOST_AT_ONCE], lambda m: m.plan_further(at=at))


def _to_lay(at: datetime) -> Iterable[Occurrence]:
    near = Occurrence.objects.to_lay(at).select_related("maintenance")
    return near.order_by("starts_at")[:MOST_AT_ONCE]


def _due(at: datetime) -> Iterable[Occurrence]:
    due = Occurrence.objects.due(at).select_related("maintenance")
    return due.order_by("due_at")[:MOST_AT_ONCE]


def _to_remind(at: datetime) -> Iterable[Occurrence]:
    due = Reminder.objects.filter(settled_at=None, due_at__lte=at)
    waiting = Occurrence.objects.filter(pk__in=due.values("occurrence"))
    waiting = waiting.select_related("maintenance")
    return waiting.order_by("starts_at")[:MOST_AT_ONCE]


def _each(rows: Iterable[Any], do: Callable[[Any], object]) -> None:
    """Do something with each; one that fails stops no other."""
    for row in rows:
        try:
            do(row)
        except Exception:
            logger.exception("%s could not be kept", row)
