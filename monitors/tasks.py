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
PRUNED_AT_ONCE = 5000


@shared_task
def tick() -> None:
    """Claim what falls due before the next tick and hand it to the engine."""
    now = timezone.now()
    Pulse.note("tick", at=now)
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
    """Delete a few of the raw results that are past their retention."""
    oldest = timezone.now() - timedelta(days=settings.RESULT_RETENTION_DAYS)
    old = CheckResult.objects.filter(checked_at__lt=oldest).order_by("checked_at")
    CheckResult.objects.filter(
        pk__in=list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE])
    ).delete()


@worker_shutdown.connect
def give_back(**kwargs: Any) -> None:
    """A worker that ends returns what it had claimed."""
    if engine._engine is not None:
        engine._engine.stop()
