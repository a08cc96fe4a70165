"""What a trigger is sent: everything the alert knows, as it is known by then."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone

from access.desk import length
from monitors.models import Monitor
from outbox.channels import Content
from outbox.models import Message
from outbox.rendering import Withdrawn

from .models import Alert, Transition

# What operators' own templates may name, and what each name means. The page of
# documentation, the help in the form and the preview are made of it.
VARIABLES: Final = {
    "alert_id": "Number of the alert; null in a test",
    "alert_name": "Monitor and condition, such as Web Shop STATUS: DOWN",
    "alert_for": "What the rule watches: STATUS, LATENCY, …",
    "alert_value": "What it is held to, such as DOWN",
    "alert_status": "TRIGGERED or RESOLVED",
    "alert_severity": "WARNING or CRITICAL",
    "alert_message": "The rule's description, or the reason if it has none",
    "alert_source": "Always ALERT",
    "alert_timestamp": "Moment of what is told: of triggering, resolving, reminding",
    "alert_cta_url": "Where to read on: the incident if there is one, or the alert",
    "alert_cta_text": "Words for a button that leads there",
    "alert_incident_id": "Number of the incident; null without one",
    "alert_incident_url": "Address of the incident; empty without one",
    "alert_failure_threshold": "How much failing triggers",
    "alert_success_threshold": "How much passing resolves",
    "alert_observed": "What was seen, such as down",
    "alert_error": "The error of the check that triggered; may be empty",
    "alert_reason": "Why it changed, such as 3 failures in a row",
    "alert_url": "Address of the alert in the admin",
    "alert_began_at": "Moment of the first failure",
    "alert_triggered_at": "Moment of triggering",
    "alert_resolved_at": "Moment of resolving; null before",
    "alert_duration": "How long it has failed, in words, such as 47 min",
    "alert_duration_seconds": "The same in whole seconds",
    "alert_note": "What an operator wrote on acknowledging; may be empty",
    "is_triggered": "true while the alert goes on",
    "is_resolved": "true when it is over",
    "is_test": "true for what the test button sends",
    "is_reminder": "true when an alert that goes on is told again",
    "is_acknowledged": "true once an operator has taken note",
    "monitor_name": "Name of the monitor",
    "monitor_tag": "Tag of the monitor",
    "monitor_url": "Address of the monitor in the admin",
    "monitor_kind": "Kind of the monitor, such as http",
    "rule_name": "Name of the rule",
    "rule_id": "Number of the rule; null if it was deleted",
    "site_url": "Address of Tocsin",
    "site_name": "Name of this Tocsin",
    "site_logo_url": "Address of its logo; may be empty",
    "colors_up": "Colour of what is up, such as #0c7a5f",
    "colors_down": "Colour of what is down",
    "colors_degraded": "Colour of what is degraded",
    "colors_maintenance": "Colour of maintenance",
}

# As the status page has them.
COLORS: Final = {
    "colors_up": "#0c7a5f",
    "colors_down": "#a80f24",
    "colors_degraded": "#b07c00",
    "colors_maintenance": "#2f48c6",
}
HEADERS: Final = {
    "Auto-Submitted": "auto-generated",
    "X-Auto-Response-Suppress": "OOF, AutoReply",
}
REMINDED, ACKNOWLEDGED = "alert.reminded", "alert.acknowledged"
_TYPES: Final = {"reminder": REMINDED, "acknowledged": ACKNOWLEDGED}


class AlertContent(Content):
    """Content whose texts are made when a channel first asks for them.

    A webhook asks for none, and the templates are what takes the time.
    """

    def __init__(self, transition: Transition, said: Mapping[str, Any]) -> None:
        super().__init__(values=values_of(transition, said), headers=HEADERS)
        # Away with the empty texts: what is not there is made.
        self.__dict__.clear()
        self.__dict__["_transition"] = transition

    @cached_property
    def variables(self) -> Mapping[str, Any]:
        return variables(self.values)

    @cached_property
    def subject(self) -> str:
        return f"{kicker(self.values)}: {self.values['alert']['name']}"

    @cached_property
    def text(self) -> str:
        return f"{self._made('alerting/notice.txt').strip()}\n"

    @cached_property
    def html(self) -> str:
        return self._made("alerting/notice.html")

    def _made(self, template: str) -> str:
        told = self.variables
        context = {
            **told,
            **self.values,
            "transition": self.__dict__["_transition"],
            "kicker": kicker(self.values),
            "lasted": told["alert_duration"],
        }
        # What is safe in a mail is not so wherever else it is put.
        return str.__str__(render_to_string(template, context))


_READ: Final = "_transition"


def load(messages: Sequence[Message]) -> None:
    """Read the transitions of several messages in one query."""
    pks = {message.values["transition"] for message in messages}
    found = Transition.objects.select_related("alert").in_bulk(pks)
    for message in messages:
        message.__dict__[_READ] = found.get(message.values["transition"])


def render(message: Message) -> Content:
    """Return the content of a notice; raises Withdrawn if there is none any more."""
    if _READ not in message.__dict__:
        load([message])
    transition = message.__dict__[_READ]
    if transition is None:
        raise Withdrawn("The alert was deleted.")
    over = transition.alert.state == Alert.State.RESOLVED
    if over and message.values.get("kind") == "reminder":
        raise Withdrawn("The alert has resolved since.")
    return AlertContent(transition, message.values)


def kicker(values: Mapping[str, Any]) -> str:
    """Say in a word or two what a notice is about."""
    alert = values["alert"]
    words = {
        REMINDED: f"Still {_failing(alert)}",
        ACKNOWLEDGED: "Acknowledged",
        "alert.resolved": "Resolved",
        "alert.triggered": alert["severity"],
    }[values["type"]]
    return f"Test: {words}" if values["is_test"] else words


def _failing(alert: Mapping[str, Any]) -> str:
    watches_status = alert["alert_for"] == "STATUS"
    return str(alert["alert_value"]).lower() if watches_status else "failing"


def values_of(
    transition: Transition, said: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return everything a notice can say, in JSON's types; times in ISO 8601.

    `said` is what the message holds: its kind, if it tells of no transition.
    """
    said = said or {}
    resolved = transition.to == Alert.State.RESOLVED
    plain = "alert.resolved" if resolved else "alert.triggered"
    at = said.get("at") or _iso(transition.at)
    alert = transition.alert
    return {
        "type": _TYPES.get(said.get("kind", ""), plain),
        "timestamp": at,
        "is_test": bool(said.get("is_test")),
        "reminder": said.get("number"),
        "alert": _alert_values(transition, said),
        "rule": {"id": alert.rule_id, "name": alert.rule_name},
        "monitor": {
            "tag": alert.monitor_tag,
            "name": alert.monitor_name,
            "kind": alert.monitor_kind,
            "url": _address("monitors/monitor", alert.monitor_id),
        },
        "incident": {
            "id": alert.incident_number,
            "url": f"{settings.TOCSIN_URL}{alert.incident_path}",
        }
        if alert.incident_number
        else None,
        "site": {"url": settings.TOCSIN_URL},
    }


def _alert_values(transition: Transition, said: Mapping[str, Any]) -> dict[str, Any]:
    alert = transition.alert
    resolved = transition.to == Alert.State.RESOLVED
    ended = alert.resolved_at if resolved else None
    duration = ended - alert.began_at if ended else None
    acknowledged = said.get("kind") == "acknowledged" or _is_acknowledged(alert)
    return {
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
        "is_acknowledged": acknowledged,
        "acknowledged_by": said.get("by") or alert.acknowledged_by,
        "note": said.get("note") or alert.note,
        "url": _address("alerting/alert", alert.pk),
    }


def _is_acknowledged(alert: Alert) -> bool:
    until = alert.acknowledged_until
    return alert.acknowledged_at is not None and (
        until is None or until > timezone.now()
    )


def variables(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `values_of` has under the flat names that templates use."""
    alert, incident = values["alert"], values["incident"] or {}
    lasted = _seconds(values)
    return {
        "alert_id": alert["id"],
        "alert_name": alert["name"],
        "alert_status": alert["state"],
        "alert_message": alert["description"] or alert["reason"],
        "alert_source": "ALERT",
        "alert_timestamp": values["timestamp"],
        "alert_cta_url": incident.get("url", alert["url"]),
        "alert_cta_text": "Open the incident" if incident else "Open the alert",
        "alert_incident_id": incident.get("id"),
        "alert_incident_url": incident.get("url", ""),
        "alert_duration": length(lasted),
        "alert_duration_seconds": lasted,
        **{f"alert_{name}": alert[name.removeprefix("alert_")] for name in _COPIED},
        "alert_for": alert["alert_for"],
        "alert_value": alert["alert_value"],
        "is_triggered": alert["is_triggered"],
        "is_resolved": alert["is_resolved"],
        "is_acknowledged": alert["is_acknowledged"],
        "is_test": values["is_test"],
        "is_reminder": values["type"] == REMINDED,
        **{f"monitor_{name}": value for name, value in values["monitor"].items()},
        **{f"rule_{name}": value for name, value in values["rule"].items()},
        "site_url": values["site"]["url"],
        "site_name": getattr(settings, "TOCSIN_NAME", "Tocsin"),
        "site_logo_url": getattr(settings, "TOCSIN_LOGO_URL", ""),
        **COLORS,
    }


# Of the alert, what keeps its name.
_COPIED: Final = (
    *("severity", "failure_threshold", "success_threshold", "observed", "error"),
    *("reason", "url", "began_at", "triggered_at", "resolved_at", "note"),
)


def _seconds(values: Mapping[str, Any]) -> int:
    """How long it has failed by the moment that the notice tells of."""
    alert = values["alert"]
    until = datetime.fromisoformat(alert["resolved_at"] or values["timestamp"])
    since = datetime.fromisoformat(alert["began_at"])
    return max(0, round((until - since).total_seconds()))


def _address(page: str, pk: int | None) -> str:
    """The address of a page in the admin; without a row, that of the list."""
    row = f"{pk}/change/" if pk else ""
    return f"{settings.TOCSIN_URL}/admin/{page}/{row}"


def _iso(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


# Tests and samples: alerts that are not stored


def sample(to: str, *, at: datetime, monitor: Monitor | None = None) -> Transition:
    """Return a transition of an alert that there is not."""
    resolved = to == Alert.State.RESOLVED
    alert = Alert(
        monitor=monitor,
        state=to,
        began_at=at - timedelta(minutes=2),
        triggered_at=at - timedelta(minutes=1 if resolved else 0),
        resolved_at=at if resolved else None,
        rule_name="A rule of a test",
        monitor_name=monitor.name if monitor else "Web Shop",
        monitor_tag=monitor.tag if monitor else "shop",
        monitor_kind=monitor.kind if monitor else "http",
        alert_for="STATUS",
        alert_value="DOWN",
        failure_threshold=3,
        success_threshold=2,
        severity="WARNING",
        description="This is a test. Nothing is wrong.",
        create_incident=False,
        observed="down",
        error="Status 503",
    )
    reason = "2 passing checks in a row" if resolved else "3 failing checks in a row"
    return Transition(alert=alert, to=to, reason=reason, at=at)


def tests() -> list[tuple[str, Content]]:
    """Return what a test sends, one after the other: it triggers, and it resolves."""
    at = timezone.now()
    monitor = Monitor.objects.current().order_by("-pk").first()
    return [
        (str(to), AlertContent(sample(to, at=at, monitor=monitor), {"is_test": True}))
        for to in (Alert.State.TRIGGERED, Alert.State.RESOLVED)
    ]


HOSTILE: Final = "\"</b>'\\ {{x}}\n\t&<script>\u2028"


def samples() -> Iterator[dict[str, Any]]:
    """Values of every sort to try a template on: full, bare, and hostile."""
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for to in Alert.State.values:
        bare, full = sample(to, at=at), sample(to, at=at)
        bare.alert.description = bare.alert.error = ""
        yield _flat(values_of(bare))
        full.alert.pk, full.alert.note = 1, "On it"
        full.alert.incident_number, full.alert.incident_path = 7, "/incidents/7/"
        yield _flat(values_of(full, {"is_test": True}))
        yield _hostile(_flat(values_of(full)))
    for kind in _TYPES:
        said = {"kind": kind, "number": 1, "at": _iso(at), "by": "ana"}
        yield _flat(values_of(sample(Alert.State.TRIGGERED, at=at), said))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, **variables(values)}


def _hostile(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hostile(inner) for name, inner in value.items()}
    return HOSTILE if isinstance(value, str) else value
