from datetime import timedelta
from typing import Any

from celery import shared_task
from celery.signals import worker_shutdown
from django.utils import timezone

from . import engine, metering, recording
from . import upkeep as upkeeping
from .models import MonitorState, Pulse

# A little more than the second between two ticks, so that a tick that comes
# late still finds each check before its moment.
AHEAD = timedelta(seconds=1.5)
# Without a tick for so long, nobody has been looking.
AWAY = timedelta(seconds=5)
# Over which what is overdue then is spread.
SPREAD_SECONDS = 60.0
UPKEEP_SECONDS = 20.0
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
def upkeep() -> None:
    """Rebuild what is stale of the history."""
    upkeeping.run(at=timezone.now(), seconds=UPKEEP_SECONDS)


@shared_task
def prune() -> None:
    """Delete what is past its retention, a little at a time for a while."""
    metering.forget(timezone.now())
    upkeeping.forget(at=timezone.now(), seconds=PRUNE_SECONDS)


@worker_shutdown.connect
def give_back(**kwargs: Any) -> None:
    """A worker that ends returns what it had claimed."""
    if engine._engine is not None:
        engine._engine.stop()
