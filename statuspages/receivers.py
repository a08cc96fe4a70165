from typing import Any

from incidents.models import Incident

from .models import PageIncident, Snapshot


def mark_pages(**kwargs: Any) -> None:
    """Whatever has happened shows on some page: have them built anew."""
    Snapshot.mark_dirty()


def keep_to_its_pages(incident: Incident, made: Incident, **kwargs: Any) -> None:
    """What was split off shows where the first one does, and nowhere else."""
    PageIncident.objects.bulk_create(
        PageIncident(page=row.page, incident=made) for row in PageIncident.of(incident)
    )
