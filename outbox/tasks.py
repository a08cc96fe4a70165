from celery import shared_task

from . import delivery


@shared_task
def deliver_due() -> None:
    """Deliver what is due, on this process's delivery threads."""
    delivery.courier().look()
