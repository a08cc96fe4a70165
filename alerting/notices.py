"""What a trigger is sent: everything the alert knows, as it is known by then."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from outbox.channels import Content
from outbox.models import Message
from outbox.rendering import Withdrawn

from .models import Alert, Transition


def render(message: Message) -> Content:
    """Return the content of a notice; raises Withdrawn if its alert is gone."""
    transition = (
        Transition.objects.select_related("alert__rule", "alert__monitor")
        .filter(pk=message.values["transition"])
        .first()
    )
    if transition is None:
        raise Withdrawn("The alert was deleted.")
    values = values_of(transition)
    context = {"alert": transition.alert, "transition": transition, **values}
    subject, text, html = (
        render_to_string(f"alerting/notice{ending}", context)
        for ending in ("_subject.txt", ".txt", ".html")
    )
    return Content(
        subject=subject.strip(),
        text=f"{text.strip()}\n",
        html=html,
        values=values,
        headers={
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "OOF, AutoReply",
        },
    )


def values_of(transition: Transition) -> dict[str, Any]:
    """Return everything a notice can say, in JSON's types; times in ISO 8601."""
    alert = transition.alert
    resolved = transition.to == Alert.State.RESOLVED
    ended = alert.resolved_at if resolved else None
    duration = ended - alert.began_at if ended else None
    return {
        "type": "alert.resolved" if resolved else "alert.triggered",
        "timestamp": _iso(transition.at),
        "alert": {
            "id": alert.pk,
            "name": str(alert),
            "state": transition.to,
            "is_triggered": not resolved,
            "is_resolved": resolved,
            "severity": alert.severity,
            "description": alert.description,
            "alert_for": alert.alert_for,
            "alert_value": alert.alert_value,
            "failure_threshold": alert.failure_threshold,
            "success_threshold": alert.success_threshold,
            "observed": alert.observed,
            "error": alert.error,
            "reason": transition.reason,
            "began_at": _iso(alert.began_at),
            "triggered_at": _iso(alert.triggered_at),
            "resolved_at": _iso(ended),
            "duration_seconds": duration.total_seconds() if duration else None,
            "url": f"{settings.TOCSIN_URL}/admin/alerting/alert/{alert.pk}/change/",
        },
        "rule": {"id": alert.rule_id, "name": alert.rule_name},
        "monitor": {
            "tag": alert.monitor_tag,
            "name": alert.monitor_name,
            "kind": alert.monitor_kind,
            "url": (
                f"{settings.TOCSIN_URL}/admin/monitors/monitor/"
                f"{alert.monitor_id}/change/"
            ),
        },
        "incident": {
            "id": alert.incident_number,
            "url": f"{settings.TOCSIN_URL}{alert.incident_path}",
        }
        if alert.incident_number
        else None,
        "site": {"url": settings.TOCSIN_URL},
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None
