from datetime import datetime
from typing import Any

from django.db.models import Q

from alerting.models import Alert, Transition

from .models import Incident, IncidentAlert, State


def open_incident(alert: Alert, transition: Transition, **kwargs: Any) -> None:
    if alert.create_incident:
        Incident.open_for(alert, at=transition.at)


def close_incident(alert: Alert, transition: Transition, **kwargs: Any) -> None:
    link = IncidentAlert.objects.filter(alert=alert).select_related("incident").first()
    if link:
        link.incident.resolve_for(alert, transition)


def reopen_incidents(alerts: list[Alert], at: datetime, **kwargs: Any) -> None:
    links = IncidentAlert.objects.filter(alert__in=alerts).filter(
        Q(incident__state=State.RESOLVED) | ~Q(incident__deleted_at=None)
    )
    by_pk = {alert.pk: alert for alert in alerts}
    for link in links.select_related("incident"):
        link.incident.reopen_for(by_pk[link.alert_id], at=at)
