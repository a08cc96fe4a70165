from celery import shared_task

from . import snapshot


@shared_task
def build_pages() -> None:
    """Build every page that has changed or whose times have grown old."""
    snapshot.build_due()
