from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from alerting.models import Alert, Transition

from . import opening
from .models import IncidentAlert, Refused, State


def open_incident(alert: Alert, transition: Transition, **kwargs: Any) -> None:
    if alert.create_incident:
        # It may be told long after it was triggered.
        opening.consider(alert, at=max(transition.at, timezone.now()))


def close_incident(alert: Alert, transition: Transition, **kwargs: Any) -> None:
    if not (alert.create_incident or alert.incident_number):
        return  # nothing has asked for one
    link = IncidentAlert.objects.filter(alert=alert).select_related("incident").first()
    if link:
        link.incident.resolve_for(alert, transition)
    else:
        Refused.objects.filter(alert=alert).delete()


def reopen_incidents(alerts: list[Alert], at: datetime, **kwargs: Any) -> None:
    withdrawn = ~Q(incident__deleted_at=None) | ~Q(incident__discarded_at=None)
    links = IncidentAlert.objects.filter(alert__in=alerts).filter(
        Q(incident__state=State.RESOLVED) | withdrawn
    )
    by_pk = {alert.pk: alert for alert in alerts}
    for link in links.select_related("incident"):
        link.incident.reopen_for(by_pk[link.alert_id], at=at)
