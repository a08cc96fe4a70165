from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from . import delivery
from .models import Message

PRUNED_AT_ONCE = 1000


@shared_task
def deliver_due() -> None:
    """Deliver what is due, on this process's delivery threads."""
    delivery.courier().look()


@shared_task
def prune() -> None:
    """Delete messages that were settled before the retention, with their log."""
    oldest = timezone.now() - timedelta(days=settings.MESSAGE_RETENTION_DAYS)
    settled = Message.objects.filter(finished_at__lt=oldest).order_by("finished_at")
    while some := list(settled.values_list("pk", flat=True)[:PRUNED_AT_ONCE]):
        Message.objects.filter(pk__in=some).delete()
