"""What operators are told: of automatic incidents that are held back, and of those
that go on without news.

Each message is queued once: its key says of what and for whom it is.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings as site
from django.contrib.auth.models import User
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import timezone

from monitors.models import Monitor
from outbox import rendering
from outbox.channels import Content
from outbox.models import Message, message
from outbox.rendering import Withdrawn

from .lengths import count, duration
from .models import Automation, Incident
from .safeguards import month_of

HEADERS: Final = {
    "Auto-Submitted": "auto-generated",
    "X-Auto-Response-Suppress": "OOF, AutoReply",
}


def draft(incident: Incident, settings: Automation) -> None:
    """Say that a draft waits."""
    values = {"incident": incident.pk}
    _queue(_to_all("draft", f"draft:{incident.pk}", values, settings, incident.cause))


def storm(incident: Incident, failing: int, settings: Automation) -> None:
    """Say that many monitors fail at once."""
    values = {"incident": incident.pk, "failing": failing}
    _queue(_to_all("storm", f"storm:{incident.pk}", values, settings, incident.cause))


def storm_to_owner(incident: Incident, monitor: Monitor | None) -> None:
    """Say it to the owner of a monitor that is in it; once, however many are."""
    values = {"incident": incident.pk}
    _queue(_to_owner("storm", f"storm:{incident.pk}", values, monitor, incident.cause))


def breaker(
    incident: Incident, monitor: Monitor | None, settings: Automation, *, at: datetime
) -> None:
    """Say, once a day, that a monitor opens too many; to its owner if it has one."""
    if monitor is None:
        return
    key = f"breaker:{monitor.pk}:{at.astimezone(UTC):%Y-%m-%d}"
    values = {"incident": incident.pk, "monitor": monitor.name}
    topic = f"monitor:{monitor.pk}"
    to_owner = _to_owner("breaker", key, values, monitor, topic)
    _queue(to_owner or _to_all("breaker", key, values, settings, topic))


def quota(settings: Automation, *, at: datetime) -> None:
    """Say, once a month, that no more incidents open by themselves."""
    month = f"{at.astimezone(UTC):%Y-%m}"
    _, until = month_of(at)
    values = {"most": settings.monthly_quota, "until": until.isoformat()}
    _queue(_to_all("quota", f"quota:{month}", values, settings, ""))


def nag(incident: Incident, settings: Automation) -> list[str]:
    """Ask for news: the owner, else those of its monitors, else all who are told.

    Returns their names.
    """
    since = incident.silent_since(incident.told_at_last())
    facts = {"number": incident.nags, "since": since.isoformat()}
    values = {"incident": incident.pk, **facts}
    promised = incident.promised_at.isoformat() if incident.promised_at else ""
    key = f"nag:{incident.pk}:{since.isoformat()}:{promised}:{incident.nags}"
    people = _responsible(incident)
    if people or incident.is_private:
        _queue(_to_person("nag", key, values, one, incident.cause) for one in people)
        return [one.get_username() for one in people]
    messages = _to_all("nag", key, values, settings, incident.cause)
    _queue(messages)
    return [str(one.trigger) for one in messages]


def _responsible(incident: Incident) -> list[User]:
    """Return whose the incident is: who owns it, else its monitors.

    Of a private one nobody hears who may not know of it: those are asked instead
    who may.
    """
    people = User.objects.filter(is_active=True).exclude(email="").order_by("pk")
    inside = people.filter(pk__in=User.objects.filter(groups__in=incident.groups.all()))
    may_know = people
    if incident.is_private:
        may_know = people.filter(Q(pk__in=inside) | Q(is_superuser=True))
    owner = may_know.filter(owned_incidents=incident)
    affected = incident.impacts.filter(ended_at=None).values("monitor")
    own = Monitor.objects.filter(Q(pk__in=affected) | Q(pk=incident.monitor_id))
    owners = may_know.filter(pk__in=own.values("owner"))
    return list(owner) or list(owners) or list(inside if incident.is_private else ())


def _to_all(
    renderer: str,
    key: str,
    values: Mapping[str, Any],
    settings: Automation,
    topic: str,
) -> list[Message]:
    return [
        message(
            dedup_key=f"{key}:trigger:{trigger.pk}",
            kind=trigger.kind,
            trigger=trigger,
            renderer=renderer,
            values=values,
            recipient_key=f"trigger:{trigger.pk}",
            topic_key=topic,
        )
        for trigger in settings.told()
    ]


def _to_owner(
    renderer: str,
    key: str,
    values: Mapping[str, Any],
    monitor: Monitor | None,
    topic: str,
) -> list[Message]:
    owner = monitor.owner if monitor else None
    if owner is None or not owner.email or not owner.is_active:
        return []
    return [_to_person(renderer, key, values, owner, topic)]


def _to_person(
    renderer: str, key: str, values: Mapping[str, Any], person: User, topic: str
) -> Message:
    return message(
        dedup_key=f"{key}:owner:{person.pk}",
        kind="email",
        destination=person.email,
        renderer=renderer,
        values=values,
        recipient_key=f"operator:{person.pk}",
        topic_key=topic,
    )


def _queue(messages: Iterable[Message]) -> None:
    if messages := list(messages):
        Message.queue(messages)


# What the messages say, made when they are delivered


def register() -> None:
    """Make the renderers known; called in ready()."""
    said: dict[str, Callable[[Message], Content]] = {
        "draft": _draft,
        "storm": _storm,
        "breaker": _breaker,
        "quota": _quota,
        "nag": _nag,
    }
    for name, renderer in said.items():
        rendering.register(name, renderer)


def _draft(message: Message) -> Content:
    incident = _waiting(message)
    said = "It is a draft: nobody outside sees it until it is published."
    lines = [said, _countdown(incident)]
    return _content("draft", f"Draft: {incident.title}", lines, incident)


def _storm(message: Message) -> Content:
    incident = _waiting(message)
    failing = message.values.get("failing")
    said = "Many monitors began to fail within a minute."
    if failing:
        said = f"{count(failing, 'monitor')} began to fail within a minute."
    one = "One incident is about all of them. It is a draft so far."
    lines = [said, one, _countdown(incident)]
    return _content("storm", f"Storm: {incident.title}", lines, incident, "down")


def _breaker(message: Message) -> Content:
    incident = _found(message)
    name = message.values["monitor"]
    lines = [
        "It has opened as many incidents in 24 hours as the settings allow. Further "
        "ones begin as drafts and wait for a person.",
        "Is its rule too strict, or does it fail again and again?",
    ]
    return _content("breaker", f"Too many incidents: {name}", lines, incident)


def _quota(message: Message) -> Content:
    until = datetime.fromisoformat(message.values["until"])
    lines = [
        f"There were {count(message.values['most'], 'automatic incident')} this month, "
        "as many as the settings allow.",
        f"Until {until.day} {until:%B %H:%M} UTC no more open by themselves. Alerts go "
        "on, and those still triggered then get their incidents.",
    ]
    subject = "No more automatic incidents this month"
    return _content("quota", subject, lines, None, "down")


def _nag(message: Message) -> Content:
    incident = _silent(message)
    now = timezone.now()
    since = datetime.fromisoformat(message.values["since"])
    silence = duration(now - since)
    lines = [f"It goes on, and nobody has told anything new for {silence}."]
    # The subject is read by whoever may look into the outbox.
    name = f"incident {incident.pk}" if incident.is_private else incident.title
    subject = f"No news for {silence}: {name}"
    if incident.promised_at:
        by = incident.promised_at.astimezone(UTC)
        late = duration(now - incident.promised_at)
        promised = f"An update was promised by {by:%H:%M} UTC, {late} ago."
        subject, lines = f"Update overdue: {name}", [promised, *lines]
    lines.append("Whatever is told, also that nothing has changed, ends this.")
    return _content("nag", subject, lines, incident)


def _silent(message: Message) -> Incident:
    """The incident, if it is still the one that this asks about."""
    incident = _found(message)
    since = incident.silent_since(incident.told_at_last())
    if not incident.is_awaited:
        raise Withdrawn("The incident is over, or told of elsewhere.")
    if since > datetime.fromisoformat(message.values["since"]):
        raise Withdrawn("There is news meanwhile.")
    if incident.nags > message.values["number"] or _asks_again(incident):
        raise Withdrawn("It is asked again at this moment.")
    if incident.is_private and message.recipient_key not in _keys(incident):
        raise Withdrawn("The incident is private.")
    return incident


def _asks_again(incident: Incident) -> bool:
    """Whether the next sweep asks, so that this comes too late."""
    return incident.nag_at is not None and incident.nag_at <= timezone.now()


def _keys(incident: Incident) -> set[str]:
    return {f"operator:{one.pk}" for one in _responsible(incident)}


def _found(message: Message) -> Incident:
    incidents = Incident.objects.filter(pk=message.values["incident"])
    incident = incidents.first()
    if incident is None or incident.deleted_at:
        raise Withdrawn("The incident was deleted.")
    return incident


def _waiting(message: Message) -> Incident:
    """The draft, if there is still something to decide."""
    incident = _found(message)
    if incident.discarded_at:
        raise Withdrawn("The draft was discarded.")
    if incident.published_at:
        raise Withdrawn("The incident is public.")
    return incident


def _countdown(incident: Incident) -> str:
    if incident.publish_at is None:
        return "It waits for a person."
    left = incident.publish_at - timezone.now()
    return f"It publishes itself in {duration(left)} unless somebody stops it."


def _content(
    kind: str,
    subject: str,
    lines: list[str],
    incident: Incident | None,
    look: str = "degraded",
) -> Content:
    path = incident.admin_path if incident else "/admin/incidents/automation/"
    context = {
        "heading": subject,
        "lines": lines,
        "look": look,
        "url": f"{site.TOCSIN_URL}{path}",
        "label": "Open the incident" if incident else "Open the settings",
        "site": site.TOCSIN_URL,
    }
    return Content(
        subject=subject,
        text=render_to_string("incidents/note.txt", context).strip() + "\n",
        html=render_to_string("incidents/note.html", context),
        values=_values(kind, subject, lines, incident),
        headers=HEADERS,
    )


def _values(
    kind: str, subject: str, lines: list[str], incident: Incident | None
) -> dict[str, Any]:
    return {
        "type": f"incident.{kind}",
        "timestamp": timezone.now().isoformat().replace("+00:00", "Z"),
        "subject": subject,
        "text": "\n".join(lines),
        "incident": incident
        and {
            "id": incident.pk,
            "title": incident.title,
            "severity": Incident.Severity(incident.severity).name.lower(),
            "url": f"{site.TOCSIN_URL}{incident.admin_path}",
        },
        "site": {"url": site.TOCSIN_URL},
    }
