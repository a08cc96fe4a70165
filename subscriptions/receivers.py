from typing import Any

from incidents.models import Incident, IncidentUpdate, Occurrence, OccurrenceUpdate

from .models import FanOut, MaintenanceNews

Kind = MaintenanceNews.Kind


def notify_published(
    incident: Incident, update: IncidentUpdate | None, **kwargs: Any
) -> None:
    if update:
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


def notify_scheduled(occurrence: Occurrence, **kwargs: Any) -> None:
    MaintenanceNews.begin(Kind.SCHEDULED, occurrence)


def notify_reminded(occurrence: Occurrence, minutes: int, **kwargs: Any) -> None:
    # After another start it is another reminder.
    which = f"{minutes}:{occurrence.starts_at:%Y%m%d%H%M%S}"
    MaintenanceNews.begin(Kind.REMINDER, occurrence, which=which)


def notify_started(
    occurrence: Occurrence, update: OccurrenceUpdate, **kwargs: Any
) -> None:
    MaintenanceNews.begin(Kind.STARTED, occurrence, update)


def notify_changed(
    occurrence: Occurrence, update: OccurrenceUpdate | None, **kwargs: Any
) -> None:
    if update:
        MaintenanceNews.begin(Kind.CHANGED, occurrence, update, which=str(update.pk))


def notify_completed(
    occurrence: Occurrence, update: OccurrenceUpdate, **kwargs: Any
) -> None:
    MaintenanceNews.begin(Kind.COMPLETED, occurrence, update)


def notify_cancelled(
    occurrence: Occurrence, update: OccurrenceUpdate, **kwargs: Any
) -> None:
    MaintenanceNews.begin(Kind.CANCELLED, occurrence, update)
