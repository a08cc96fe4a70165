from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from . import evaluation
from .models import Decision

PRUNED_AT_ONCE = 1000


@shared_task
def sweep() -> None:
    """Evaluate and announce what was left, whatever the reason."""
    evaluation.sweep()


@shared_task
def prune() -> None:
    """Delete decisions that were last said before the retention."""
    oldest = timezone.now() - timedelta(days=settings.DECISION_RETENTION_DAYS)
    old = Decision.objects.before(oldest)
    while some := list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE]):
        Decision.objects.filter(pk__in=some).delete()
