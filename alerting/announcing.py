"""Telling the apps above what has turned, in order, until they have heard it."""

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from celery import current_app
from django.utils import timezone

from . import safeguards
from .models import Alert, Decision, Said, Transition
from .safeguards import Refusal, Subject

logger = logging.getLogger(__name__)

SWEEP: Final = "alerting.tasks.sweep"
# So many incidents may be opened before results are written down again.
AT_ONCE: Final = 25


# One thread of a process announces at a time: two would only be in each other's way.
_announcing = threading.Lock()


def announce_some() -> None:
    """Announce what is due, unless that takes long: the sweep does the rest, so that
    whoever writes down results can go on."""
    if not _announcing.acquire(blocking=False):
        current_app.ring(SWEEP)
        return
    try:
        if announce_due(most=AT_ONCE):
            current_app.ring(SWEEP)
    finally:
        _announcing.release()


def announce_all() -> None:
    with _announcing:
        announce_due()


def announce_due(*, most: int | None = None) -> bool:
    """Announce transitions, each in a transaction of its own, oldest first.

    One of an alert that is held back waits until no gate refuses it any more.
    Returns whether there may be more after so many.
    """
    failed: set[int] = set()
    told = 0
    while most is None or told < most:
        due = Transition.objects.due(timezone.now()).exclude(pk__in=failed)
        related = due.select_related("alert__rule", "alert__monitor")
        batch = list(related[: min(100, most or 100)])
        if not batch:
            return False
        failed |= _announce(_first_of_each(batch))
        told += len(batch)
    return True


def _first_of_each(batch: Sequence[Transition]) -> list[Transition]:
    """Leave for the next time what comes after another one of its rule and monitor."""
    first: dict[Subject, Transition] = {}
    for transition in batch:
        first.setdefault(_subject(transition.alert), transition)
    return list(first.values())


def _announce(batch: Sequence[Transition]) -> set[int]:
    """Announce them; return those that failed, to be tried again later."""
    held = [transition for transition in batch if transition.alert.withheld]
    refused = _asked_again(held, at=timezone.now()) if held else set()
    ready = [transition for transition in batch if transition.pk not in refused]
    alone = [t for t in ready if t.alert.create_incident or t.alert.incident_number]
    together = [t for t in ready if t not in alone]
    if len(together) > 1:
        try:
            Transition.announce_together(together, at=timezone.now())
        except Exception:
            logger.exception("%s transitions were not announced", len(together))
            alone = ready
    else:
        alone = ready
    return {transition.pk for transition in alone if not _tell(transition)}


def _tell(transition: Transition) -> bool:
    try:
        transition.announce(at=timezone.now())
    except Exception as error:
        logger.exception("Announcing transition %s failed", transition.pk)
        transition.postpone(error, at=timezone.now())
        return False
    return True


def _asked_again(held: Sequence[Transition], *, at: datetime) -> set[int]:
    """Ask the gates once more; return the transitions that have to wait on."""
    subjects = {transition: _subject(transition.alert) for transition in held}
    refused = safeguards.refusals(list(subjects.values()), at=at)
    waiting = set()
    for transition, subject in subjects.items():
        if refusal := refused.get(subject):
            _wait(transition, subject, refusal, at=at)
            waiting.add(transition.pk)
        elif not transition.alert.let_through(at=at):
            waiting.add(transition.pk)  # it has resolved meanwhile
    return waiting


def _subject(alert: Alert) -> Subject:
    return Subject(alert.rule_id or 0, alert.monitor_id or 0)


def _wait(
    transition: Transition, subject: Subject, refusal: Refusal, *, at: datetime
) -> None:
    alert = transition.alert
    Transition.objects.filter(pk=transition.pk).update(due_at=refusal.until)
    Alert.objects.filter(pk=alert.pk).exclude(withheld="").update(withheld=refusal.gate)
    times = 0 if alert.withheld == refusal.gate else 1
    Decision.write([Said.of(alert, subject, refusal, at)._replace(times=times)])
