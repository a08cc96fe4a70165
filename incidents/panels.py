"""What pages of the admin say of incidents, in words and states."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from alerting.models import Alert
from monitors.models import Monitor
from outbox.models import Message

from .exporting import EXPORTS
from .models import (
    Impact,
    Incident,
    Refused,
    TimelineEntry,
)
from .timeline import Line, lines

LOOKS = {"DOWN": "down", "DEGRADED": "degraded", "PARTIAL": "degraded"}
SEVERITIES = {
    Incident.Severity.MINOR: "degraded",
    Incident.Severity.MAJOR: "down",
    Incident.Severity.CRITICAL: "down",
}


def state_of(incident: Any) -> SafeString:
    """How it stands, and whether everybody may know."""
    if not incident.is_private:
        return standing(incident)
    return format_html("{}<small>private</small>", standing(incident))


def standing(incident: Any) -> SafeString:
    if incident.deleted_at:
        return desk.state("no_data", "Deleted")
    if incident.merged_into_id:
        return desk.state("no_data", "Merged")
    if incident.discarded_at:
        return desk.state("no_data", "Discarded")
    if incident.is_draft:
        draft = desk.state("maintenance", "Draft")
        return format_html("{}<small>{}</small>", draft, countdown(incident))
    if incident.is_open:
        state = format_html("<b>{}</b>", incident.get_state_display())
        return format_html("{}{}", state, promise(incident) or silence(incident))
    return desk.state("up", incident.get_state_display())


def severity_of(incident: Incident) -> str:
    word = incident.severity_label
    look = SEVERITIES[Incident.Severity(incident.severity)]
    goes_on = incident.is_open and not incident.is_withdrawn
    return desk.state(look, word) if goes_on else word


def countdown(incident: Incident) -> str:
    """What a draft waits for."""
    if incident.publish_at is None:
        return "held" if incident.is_held else "waits for a person"
    if not incident.is_open:
        return "over; waits for a person"
    return f"publishes itself {desk.due(incident.publish_at)}"


def promise(incident: Incident) -> str | SafeString:
    """When more is promised, counted down, or that it is overdue."""
    at = incident.promised_at
    if at is None:
        return ""
    if at <= timezone.now():
        late = desk.length((timezone.now() - at).total_seconds())
        return format_html('<small class="late">update overdue by {}</small>', late)
    return format_html("<small>next update {}</small>", desk.since(at))


def silence(incident: Any) -> str | SafeString:
    """For how long nobody has told anything, if that is too long already."""
    now = timezone.now()
    is_late = incident.nags or (incident.nag_at and incident.nag_at <= now)
    if not (is_late and incident.is_awaited):
        return ""
    length = desk.length(
        (now - incident.silent_since(incident.told_at)).total_seconds()
    )
    return format_html('<small class="late">no news for {}</small>', length)


def readers(incident: Incident) -> str:
    """Who alone sees a private incident; nothing if it is not private."""
    if not incident.is_private:
        return ""
    names = incident.groups.order_by("name").values_list("name", flat=True)
    return ", ".join(names) or "superusers"


def impact_rows(incident: Any) -> list[tuple[Impact, SafeString]]:
    """The open impacts first, each with its level in words."""
    rows = sorted(incident.every_impact, key=lambda i: i.ended_at is not None)
    return [
        (i, desk.state("up", "Over"))
        if i.ended_at
        else (i, desk.state(LOOKS[i.level], i.get_level_display()))
        for i in rows
    ]


def alert_row(alert: Alert) -> Sequence[object]:
    triggered = alert.state == Alert.State.TRIGGERED
    return [
        format_html("{}<small>{}</small>", desk.link(alert), alert.error),
        format_html(
            "{}<small>{}</small>",
            desk.state("down" if triggered else "up", alert.get_state_display()),
            desk.moment(alert.resolved_at or alert.triggered_at),
        ),
    ]


def fact(line: Line) -> str | SafeString:
    """What a fact says, with a link to the alert it speaks of."""
    entry = line.fact
    if entry is None:
        return ""
    if entry.kind != TimelineEntry.Kind.ALERT or "alert" not in entry.facts:
        return entry.text
    said, _, name = entry.text.partition(": ")
    alert = reverse("admin:alerting_alert_change", args=[entry.facts["alert"]])
    return format_html('{}: <a href="{}">{}</a>', said, alert, name)


def story(incident: Incident) -> list[tuple[Line, str | SafeString, bool]]:
    """The timeline: each line, its fact, and whether it is of another day."""
    found = lines(incident)
    days = [line.at.date() for line in found]
    return [
        (line, fact(line), day != before)
        for line, day, before in zip(found, days, [None, *days], strict=False)
    ]


def exports(incident: Incident) -> list[tuple[str, str]]:
    """The forms there are, each with its address."""
    name = "admin:incidents_incident_export"
    return [
        (export.label, reverse(name, args=[incident.pk, form]))
        for form, export in EXPORTS.items()
    ]


def deliveries(incident: Incident) -> dict[str, Any]:
    """How many messages about it are delivered, waiting, given up."""
    found = Message.objects.filter(topic_key=incident.cause)
    counts = dict(found.values_list("state").annotate(Count("pk")).order_by())
    return {
        "delivered": counts.get(Message.State.DELIVERED, 0),
        "waiting": counts.get(Message.State.QUEUED, 0),
        "failed": counts.get(Message.State.FAILED, 0),
        "address": desk.list_address(Message, f"q={incident.cause}"),
    }


def title(incident: Incident) -> str:
    return f"Draft: {incident}" if incident.is_draft else str(incident)


def incidents_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    current = Incident.objects.current().filter(discarded_at=None)
    current = current.visible_to(request.user)
    impacts = Impact.objects.filter(monitor=monitor, incident__in=current)
    newest = impacts.select_related("incident").order_by("-started_at")[:20]
    return desk.table(
        "Incidents",
        ["Incident", "Impact", "From", "Until"],
        (
            [
                desk.link(impact.incident, title(impact.incident)),
                desk.state(LOOKS[impact.level], impact.get_level_display()),
                desk.moment(impact.started_at),
                desk.moment(impact.ended_at) if impact.ended_at else "still open",
            ]
            for impact in newest
        ),
    )


def refusal_of_alert(request: HttpRequest, alert: Alert) -> str:
    """Why an alert has no incident yet, and when that is looked at again."""
    found = Refused.objects.filter(alert=alert)
    return desk.table(
        "No incident so far",
        ["Because", "Looked at again"],
        ([refused.reason, desk.since(refused.due_at)] for refused in found),
    )
