from celery import shared_task

from . import evaluation


@shared_task
def sweep() -> None:
    """Evaluate and announce what was left, whatever the reason."""
    evaluation.sweep()
