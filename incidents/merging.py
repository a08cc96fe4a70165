"""Two incidents become one, one becomes two, and what one has to do with another."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import capfirst

from monitors.models import Monitor, Overlay
from outbox.models import cancel

from . import markdown
from .models import (
    Author,
    Automation,
    Impact,
    Incident,
    IncidentUpdate,
    Relation,
    SearchText,
    TimelineEntry,
)
from .models.state import State
from .models.timeline import name_of
from .signals import (
    incident_deleted,
    incident_published,
    incident_split,
    incident_updated,
)

Kind = TimelineEntry.Kind

# The worst last.
_LEVELS: Final = [str(level) for level in Impact.Level]


def merge(
    incident: Incident,
    into: Incident,
    *,
    at: datetime,
    author: Author = None,
    body: str = "",
) -> bool:
    """Tell of an incident by another one from now on; False if that was done before.

    Its alerts and impacts go over, what is queued about it is cancelled, and its
    public address leads to the other. Where it was public, the other says so in an
    update, with `body` in these words. Raises ValidationError if it cannot be done.
    """
    with transaction.atomic():
        _lock(incident, into)
        if incident.merged_into_id == into.pk:
            return False
        _refuse_merge(incident, into)
        was_public = incident.published_at is not None
        _close(incident, into, at, author)
        _take_over(incident, into, at, author)
        said = body or (_part_of(incident) if was_public else "")
        written = _write(into, said, at, author) if said else None
        # Nobody gets a mail of what is over.
        into._settle(written if into.is_open else None, at=at, author=author)
        if was_public:
            incident_deleted.send(sender=Incident, incident=incident)
    return True


def _lock(*incidents: Incident) -> None:
    """In one order for everybody, so that nobody waits for each other."""
    for incident in sorted(incidents, key=lambda i: i.pk):
        incident._lock()


def _refuse_merge(incident: Incident, into: Incident) -> None:
    if reason := reason_not_to_merge(incident, into):
        raise ValidationError({"into": reason})


def reason_not_to_merge(incident: Incident, into: Incident) -> str:
    """Say why one cannot become part of the other; nothing if it can."""
    if incident.pk == into.pk:
        return "An incident cannot become part of itself."
    if incident.is_withdrawn or into.is_withdrawn:
        return "One of them was discarded, deleted or merged already."
    if incident.is_private != into.is_private:
        return "One of them is private; decide first who is to see both."
    if into.groups.exclude(pk__in=incident.groups.values("pk")).exists():
        return "Not all who see the other one may see this; decide who is to see both."
    if incident.published_at and not into.published_at:
        return "People know of the first one; publish the other before."
    if incident.is_open and not into.is_open:
        return "The other one is over; open it again before."
    return ""


def _named(incident: Incident) -> str:
    """How the timeline of another one calls it: who reads that may not know of it."""
    if incident.published_at:
        return f"“{incident}” ({incident.pk})"
    return f"incident {incident.pk}"


def _part_of(incident: Incident) -> str:
    return f"“{markdown.escape(incident.title)}” is part of this incident."


def _close(incident: Incident, into: Incident, at: datetime, author: Author) -> None:
    """Take it out of everything that is told, and say where it has gone."""
    incident.merged_into, incident.discarded_at = into, at
    incident.publish_at = incident.nag_at = None
    incident.decided_by = name_of(author)
    incident.version += 1
    incident.save(
        update_fields=[
            *("merged_into", "discarded_at", "publish_at", "decided_by"),
            *("nag_at", "version"),
        ]
    )
    said = f"Became part of {_named(into)}"
    incident._log(Kind.MERGED, said, at=at, author=author, into=into.pk)
    cancel(topic_key=incident.cause, reason="The incident became part of another.")


def _take_over(
    incident: Incident, into: Incident, at: datetime, author: Author
) -> None:
    said = capfirst(f"{_named(incident)} became part of it")
    into._log(Kind.MERGED, said, at=at, author=author, incident=incident.pk)
    into._retitle(None, max(into.severity, incident.severity), at, author)
    was, into.started_at = into.started_at, min(into.started_at, incident.started_at)
    into._log_begin(was, at=at, author=author)
    into.save(update_fields=["severity", "started_at"])
    _move_alerts(incident, into)
    _move_impacts(list(incident.impacts.select_related("monitor")), into, at)


def _move_alerts(
    source: Incident, into: Incident, monitors: Collection[Monitor] | None = None
) -> None:
    """Make alerts the other's: all, or those of some monitors."""
    links = source.alert_links.select_related("alert")
    if monitors is not None:
        links = links.filter(alert__monitor__in=monitors)
    for link in links:
        link.incident = into
        link.save(update_fields=["incident"])
        into._link(link.alert)


def _move_impacts(impacts: Collection[Impact], into: Incident, at: datetime) -> None:
    """Make impacts the other's, and lay them over their monitors in its name.

    Of two on one monitor that go on the worse one stays.
    """
    going_on = {i.monitor_id: i for i in into.impacts.filter(ended_at=None)}
    for impact in impacts:
        _lift(impact)
        # What was over before says nothing about what goes on.
        other = None if impact.ended_at else going_on.get(impact.monitor_id)
        if other:
            impact.ended_at = max(at, impact.started_at)
        overlay = impact.incident._overlay(impact)
        impact.incident = into
        impact.save(update_fields=["incident", "ended_at"])
        if into.published_at:
            overlay.cause = into.cause
            overlay.save()
        if other and _LEVELS.index(impact.level) > _LEVELS.index(other.level):
            into._affect(impact.monitor, impact.level, at=at)


def _lift(impact: Impact) -> None:
    laid = Overlay.objects.filter(cause=impact.incident.cause, monitor=impact.monitor)
    laid.filter(started_at=impact.started_at).delete()


def _write(into: Incident, said: str, at: datetime, author: Author) -> IncidentUpdate:
    newest = into.not_before_newest(at)
    written = into._write(
        State(into.state), said, newest, author, notifies=into.is_open
    )
    SearchText.add(into.pk, written)
    return written


def split(
    incident: Incident,
    monitors: Collection[Monitor],
    *,
    title: str,
    summary: str,
    at: datetime,
    author: Author = None,
) -> Incident:
    """Tell of some of its monitors in an incident of their own; return that.

    Their impacts and alerts go over. It is public, a draft or private as the first
    one is. Raises ValidationError if they are not all, or the only ones, affected.
    """
    with transaction.atomic():
        incident._lock()
        impacts = _impacts_to_split(incident, monitors)
        began = min(impact.started_at for impact in impacts)
        made = _like(incident, title, began, at)
        with made._logging_at_once():
            made._log_opening(author)
            said = f"Split off {_named(incident)}"
            made._log(Kind.SPLIT, said, at=at, author=author, incident=incident.pk)
            made._write(State.INVESTIGATING, summary, at, author)
        SearchText.begin(made.pk, title, summary)
        _hand_over_place(incident, made, monitors)
        _move_alerts(incident, made, monitors)
        _move_impacts(impacts, made, at)
        names = ", ".join(monitor.name for monitor in monitors)
        said = f"{names}: told of by {_named(made)} from here on"
        incident._log(Kind.SPLIT, said, at=at, author=author, incident=made.pk)
        relate(made, incident, Relation.Kind.RELATED, at=at, author=author)
        incident._settle(None, at=at, author=author)
        incident_split.send(sender=Incident, incident=incident, made=made)
        made._tell(incident_published, made.updates.first())
    return made


def _impacts_to_split(
    incident: Incident, monitors: Collection[Monitor]
) -> list[Impact]:
    if not incident.goes_on:
        raise ValidationError({"monitors": "It is over; there is nothing to split."})
    going_on = list(incident.impacts.filter(ended_at=None).select_related("monitor"))
    chosen = [impact for impact in going_on if impact.monitor in monitors]
    if not chosen or len(chosen) != len(set(monitors)):
        text = "Choose some of the monitors that it affects."
        raise ValidationError({"monitors": text})
    if len(chosen) == len(going_on):
        text = "Leave at least one monitor to this incident."
        raise ValidationError({"monitors": text})
    return chosen


def _like(incident: Incident, title: str, began: datetime, at: datetime) -> Incident:
    made = Incident.objects.create(
        title=title,
        source=incident.source,
        badge=incident.badge,
        severity=incident.severity,
        started_at=began,
        created_at=at,
        published_at=incident.published_at and at,
        is_private=incident.is_private,
        is_held=incident.is_held,
        owner=incident.owner,
    )
    made.expect_news(Automation.current().patience, at)
    made.save(update_fields=["nag_at"])
    made.labels.set(incident.labels.all())
    made.groups.set(incident.groups.all())
    return made


def _hand_over_place(
    incident: Incident, made: Incident, monitors: Collection[Monitor]
) -> None:
    """The one that tells of a rule's monitor is the one that has its alerts."""
    if incident.monitor not in monitors:
        return
    rule, monitor = incident.rule, incident.monitor
    incident.rule = incident.monitor = None
    incident.save(update_fields=["rule", "monitor"])
    made.rule, made.monitor = rule, monitor
    made.save(update_fields=["rule", "monitor"])


# Relations


@transaction.atomic
def relate(
    incident: Incident,
    other: Incident,
    kind: str,
    *,
    at: datetime,
    author: Author = None,
) -> bool:
    """Note that it is a duplicate of, or related to, another; False if it is known.

    Raises ValidationError for an incident and itself.
    """
    if incident.pk == other.pk:
        raise ValidationError({"other": "Choose another incident than this one."})
    _lock(incident, other)
    if incident.relations.filter(other=other, kind=kind).exists():
        return False
    unrelate(incident, other, at=at, author=author)
    made = incident.relations.create(
        other=other, kind=kind, author=name_of(author), created_at=at
    )
    said = f"{made.get_kind_display()} {_named(other)}"
    _log_relation(incident, said, other, at, author)
    _log_relation(other, f"{_seen_from(made)} {_named(incident)}", incident, at, author)
    return True


@transaction.atomic
def unrelate(
    incident: Incident, other: Incident, *, at: datetime, author: Author = None
) -> bool:
    """Take back what was noted, whichever of the two it was noted with."""
    known = Relation.objects.filter(incident=incident, other=other)
    known |= Relation.objects.filter(incident=other, other=incident)
    if not known.exists():
        return False
    known.delete()
    for one, another in ((incident, other), (other, incident)):
        said = f"No longer related to {_named(another)}"
        _log_relation(one, said, another, at, author)
    return True


def _log_relation(
    incident: Incident, said: str, other: Incident, at: datetime, author: Author
) -> None:
    incident._log(Kind.RELATED, said, at=at, author=author, incident=other.pk)
    incident._count_change()
    incident._tell(incident_updated, None)


def _seen_from(relation: Relation) -> str:
    """What the other incident reads of it, before the name of the first."""
    is_one_sided = relation.kind == Relation.Kind.DUPLICATE
    return "Has a duplicate:" if is_one_sided else "Related to"
