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
    found = Silence.over(((a.rule_id, a.monitor_id) for a in alerts), at)
    return {a.pk for a in alerts if (a.rule_id, a.monitor_id) in found}
