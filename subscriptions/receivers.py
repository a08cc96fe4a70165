from typing import Any

from incidents.models import Incident, IncidentUpdate

from .models import FanOut


def notify_published(incident: Incident, update: IncidentUpdate, **kwargs: Any) -> None:
    FanOut.begin(incident, update, FanOut.Event.PUBLISHED)


def notify_updated(
    incident: Incident, update: IncidentUpdate | None, **kwargs: Any
) -> None:
    if update:
        FanOut.begin(incident, update, FanOut.Event.UPDATED)


def notify_resolved(incident: Incident, update: IncidentUpdate, **kwargs: Any) -> None:
    FanOut.begin(incident, update, FanOut.Event.RESOLVED)


def notify_reopened(incident: Incident, update: IncidentUpdate, **kwargs: Any) -> None:
    FanOut.begin(incident, update, FanOut.Event.REOPENED)
