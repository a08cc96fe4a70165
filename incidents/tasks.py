import logging
from typing import Final

from celery import shared_task
from django.utils import timezone

from . import clock, nagging, opening
from .models import Incident, IncidentUpdate, Refused

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500


@shared_task
def sweep() -> None:
    """Publish drafts whose time has come, look again at what was refused, and ask
    for news where there has been none for too long."""
    now = timezone.now()
    for draft in Incident.objects.due(now).order_by("publish_at")[:MOST_AT_ONCE]:
        try:
            draft.publish(at=now, only_due=True)
        except Exception:
            logger.exception("The draft %s could not be published", draft)
    for refused in Refused.objects.filter(due_at__lte=now)[:MOST_AT_ONCE]:
        try:
            opening.look_again(refused, at=now)
        except Exception:
            logger.exception("The refusal of %s could not be judged", refused.pk)
    nagging.sweep(now)


@shared_task
def tell_updates() -> None:
    """Tell the updates whose time has come; one that fails stops no other."""
    now = timezone.now()
    due = IncidentUpdate.every.due(now).select_related("incident")
    for update in due.order_by("publish_at", "pk")[:MOST_AT_ONCE]:
        try:
            update.publish(at=now)
        except Exception:
            logger.exception("The update %s could not be told", update.pk)


@shared_task
def keep_maintenances() -> None:
    """Begin and end maintenances, remind of them, and plan them further ahead."""
    clock.run_due(timezone.now())
