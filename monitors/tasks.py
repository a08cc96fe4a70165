import time
from datetime import timedelta
from typing import Any

from celery import shared_task
from celery.signals import worker_shutdown
from django.conf import settings
from django.utils import timezone

from . import engine, recording
from .models import CheckResult, MonitorState, Pulse

# A little more than the second between two ticks, so that a tick that comes
# late still finds each check before its moment.
AHEAD = timedelta(seconds=1.5)
# Without a tick for so long, nobody has been looking.
AWAY = timedelta(seconds=5)
# Over which what is overdue then is spread.
SPREAD_SECONDS = 60.0
PRUNED_AT_ONCE = 1000
PRUNE_SECONDS = 20.0


@shared_task
def tick() -> None:
    """Claim what falls due before the next tick and hand it to the engine."""
    now = timezone.now()
    before = Pulse.note("tick", at=now)
    if before and now - before > AWAY:
        MonitorState.spread_out(at=now, seconds=SPREAD_SECONDS)
    running = engine.engine()
    running.renew()
    running.submit(
        MonitorState.claim_due(at=now, until=now + AHEAD, limit=running.room)
    )


@shared_task
def expire() -> None:
    """Turn to no_data what no fresh result speaks for."""
    recording.expire(at=timezone.now())


@shared_task
def prune() -> None:
    """Delete raw results past their retention, a few at a time for a while."""
    oldest = timezone.now() - timedelta(days=settings.RESULT_RETENTION_DAYS)
    old = CheckResult.objects.filter(checked_at__lt=oldest).order_by("checked_at")
    until = time.monotonic() + PRUNE_SECONDS
    while time.monotonic() < until:
        some = list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE])
        CheckResult.objects.filter(pk__in=some).delete()
        if len(some) < PRUNED_AT_ONCE:
            break


@worker_shutdown.connect
def give_back(**kwargs: Any) -> None:
    """A worker that ends returns what it had claimed."""
    if engine._engine is not None:
        engine._engine.stop()
