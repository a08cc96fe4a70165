"""Does the process live, and can it do its work?"""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from typing import Final

from celery import current_app
from django.conf import settings
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitors.models import Pulse

logger = logging.getLogger(__name__)

OLDEST_TICK: Final = 10.0
SECONDS: Final = 3.0


class NotReady(Exception):
    """The text is shown to everybody: it names no host and no secret."""


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process lives; that is all that restarting it could mend."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Database, broker and the age of the last tick, judged in bounded time."""
    asked = {name: _pool.submit(_run, name, check) for name, check in CHECKS.items()}
    until = time.monotonic() + SECONDS
    checks, reasons = {}, []
    for name, answer in asked.items():
        try:
            answer.result(max(0.0, until - time.monotonic()))
            checks[name] = "ok"
        except TooSlow:
            answer.cancel()
            reasons.append(f"The {name} did not answer within {SECONDS:g} seconds.")
        except NotReady as reason:
            reasons.append(str(reason))
        checks.setdefault(name, "failed")
    status = "not ready" if reasons else "ready"
    response = JsonResponse(
        {"status": status, "checks": checks, "reasons": reasons},
        status=503 if reasons else 200,
    )
    # It is an answer, not an error: whoever probes each second fills no log.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def check_broker() -> None:
    if settings.REDIS_URL:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)
        return
    folder = str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["folder"])
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotReady("The broker's folder cannot be written to.")


def check_tick() -> None:
    tick = Pulse.objects.filter(pk="tick").first()
    if tick is None:
        raise NotReady("No worker has ticked yet.")
    age = (timezone.now() - tick.at).total_seconds()
    if age > OLDEST_TICK:
        raise NotReady(f"The last tick was {age:.0f} seconds ago.")


CHECKS: Final[dict[str, Callable[[], None]]] = {
    "database": check_database,
    "broker": check_broker,
    "tick": check_tick,
}

# More than one visitor's worth, so that a check that hangs delays few others.
_pool = ThreadPoolExecutor(2 * len(CHECKS), thread_name_prefix="readiness")


def _run(name: str, check: Callable[[], None]) -> None:
    try:
        check()
    except NotReady:
        raise
    except Exception as error:
        logger.warning("The readiness check of the %s failed: %s", name, error)
        raise NotReady(f"The {name} does not answer.") from error
    finally:
        connections.close_all()
