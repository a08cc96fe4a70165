"""What keeps people's attention on an alert that goes on: reminders, until
somebody has taken note of it, and again when that is over.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from .models import Alert, Silence

AT_ONCE: Final = 500


def sweep(at: datetime) -> None:
    """End acknowledgements that were for a time, and remind; two queries if idle."""
    for alert in Alert.objects.ack_expired(at)[:AT_ONCE]:
        alert.expire_acknowledgement(at=at)
    due = Alert.objects.remind_due(at).select_related("rule").order_by("remind_at")
    if alerts := list(due[:AT_ONCE]):
        remind(alerts, at=at)


def remind(alerts: Sequence[Alert], *, at: datetime) -> int:
    """Remind of alerts; of those silenced nobody is told. Return how many were."""
    quiet = silenced(alerts, at)
    return sum(alert.remind(at=at, is_quiet=alert.pk in quiet) for alert in alerts)


def silenced(alerts: Sequence[Alert], at: datetime) -> set[int]:
    """Which of these alerts are silenced at a moment, by their numbers."""
    coverings = Silence.covering(at)
    if not coverings:
        return set()
    borne: dict[int | None, set[int]] = {}
    asked = Alert.objects.filter(pk__in=[alert.pk for alert in alerts])
    for monitor_id, label_id in asked.values_list("monitor", "monitor__labels"):
        borne.setdefault(monitor_id, set()).add(label_id)
    return {
        alert.pk
        for alert in alerts
        for covering in coverings
        if covering.covers(alert.rule_id, alert.monitor_id, borne[alert.monitor_id])
    }
