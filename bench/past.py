"""A long past of one monitor, rolled up and pruned as the product does it.

To be imported within a stage only.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from monitors.checkers import Outcome
from monitors.checkers.base import kept
from monitors.instants import ms
from monitors.models import (
    CheckResult,
    FailureEpisode,
    Monitor,
    Rebuild,
    StatusPeriod,
    Turn,
)
from monitors.models.result import packed

from . import sizes
from .writing import Answers, fails, prober

MINUTES: Final = 24 * 60
# What would check, where all else only tidies up.
CHECKING: Final = "monitors.tasks.tick"


class Found(NamedTuple):
    """What the check of this number, counted from 1, found."""

    number: int
    at: datetime
    outcome: Outcome


class History:
    """One check a minute, written a day at a time.

    One result a flush would take an hour for a year, so that the rows are made
    here: the same ones, of the same bytes, but many at once.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._answers = monitor, Answers(monitor)
        self._number, self._prober = 0, prober()
        # It says that nobody has looked until now.
        StatusPeriod.objects.filter(monitor=monitor).delete()

    def write_day(self, begin: datetime) -> None:
        found = [self._find(begin + timedelta(minutes=n)) for n in range(MINUTES)]
        with transaction.atomic():
            CheckResult.objects.bulk_create(map(self._result, found))
            StatusPeriod.turn([self._turn(one) for one in found])
            FailureEpisode.objects.bulk_create(self._episodes(found))
            Rebuild.objects.bulk_create(self._marks(begin))

    def _find(self, at: datetime) -> Found:
        outcome = self._answers.outcome(failing=fails(self._number))
        self._number += 1
        return Found(self._number, at, outcome)

    def _result(self, found: Found) -> CheckResult:
        outcome = found.outcome
        return CheckResult(
            monitor=self._monitor,
            checked_at=found.at,
            status=outcome.status,
            latency_ms=outcome.latency_ms,
            packed_phases=packed(outcome.phases),
            position=found.number,
            checked_by_id=self._prober,
            error=outcome.error,
        )

    def _turn(self, found: Found) -> Turn:
        outcome = found.outcome
        return Turn(self._monitor.pk, ms(found.at), outcome.status, outcome.error)

    def _episodes(self, found: Iterable[Found]) -> Iterable[FailureEpisode]:
        for status, group in groupby(found, lambda one: one.outcome.status):
            run = list(group)
            if status != "up":
                yield FailureEpisode(
                    monitor=self._monitor,
                    began_at=run[0].at,
                    last_at=run[-1].at,
                    first=self._answer(run[0]),
                    last=self._answer(run[-1]),
                )

    def _answer(self, found: Found) -> dict[str, object]:
        outcome = found.outcome
        said = {"at": ms(found.at), "status": outcome.status, "reason": outcome.error}
        return {**said, **kept(self._monitor.checker, outcome.answer)}

    def _marks(self, midnight: datetime) -> list[Rebuild]:
        """The latencies of this day and of each of its hours are to be rolled up."""
        hours = [midnight + timedelta(hours=n) for n in range(24)]
        marks = [(Rebuild.What.HOUR, at) for at in hours]
        marks.append((Rebuild.What.DAY, midnight))
        return [Rebuild(what=what, monitor=self._monitor, at=at) for what, at in marks]


def tidy_up() -> None:
    """Do what the clock asks of `monitors` by and by, each until it changes nothing."""
    planned = [str(one["task"]) for one in settings.CELERY_BEAT_SCHEDULE.values()]
    names = [n for n in planned if n.startswith("monitors.tasks.") and n != CHECKING]
    # A task stops after a while, and what is to be rolled up must not be gone.
    for name in sorted(names, key=lambda name: name.endswith("prune")):
        _repeat(import_string(name))


def _repeat(task: Callable[[], object]) -> None:
    before: dict[str, int] = {}
    while (now := sizes.rows_of_tables()) != before:
        before = now
        task()
