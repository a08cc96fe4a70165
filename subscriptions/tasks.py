from celery import shared_task
from django.utils import timezone

from .models import Batch, FanOut, MaintenanceNews, Subscriber


@shared_task
def fan_out_due() -> None:
    """Make the messages of all news that has not reached everybody yet."""
    for batch in Batch.objects.filter(finished_at=None, due_at__lte=timezone.now()):
        while batch.step():
            pass
    for news in FanOut.objects.filter(finished_at=None, batch=None):
        while news.step():
            pass
    for planned in MaintenanceNews.objects.filter(finished_at=None):
        while planned.step():
            pass


@shared_task
def forget() -> None:
    """Forget addresses that nobody confirmed within a week."""
    oldest = timezone.now() - Subscriber.FORGET_AFTER
    pending = Subscriber.objects.filter(state=Subscriber.State.PENDING)
    Subscriber.forget(pending.filter(asked_at__lt=oldest))
