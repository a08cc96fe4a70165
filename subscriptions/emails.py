"""Mails to subscribers, made when they are delivered."""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import nh3
from django.conf import settings
from django.db.models import prefetch_related_objects
from django.template.loader import render_to_string
from django.utils import timezone

from incidents import markdown
from incidents.models import IncidentUpdate, State
from incidents.words import duration
from outbox.channels import Content
from outbox.models import Message
from outbox.rendering import Withdrawn
from statuspages.models import StatusPage
from statuspages.stories import Story, lead

from .models import Batch, FanOut, Subscriber

# Mail programs know no style sheets worth the name: each element carries its own.
_FONT: Final = "-apple-system,'Segoe UI',Roboto,Arial,sans-serif"
_TEXT: Final = f"font:16px/25px {_FONT};color:#414b53"
_CELL: Final = f"padding:6px 12px 6px 0;border-top:1px solid #dfe3e4;font:14px/21px {_FONT};text-align:left;vertical-align:top;overflow-wrap:break-word"
_STYLES: Final = {
    **{f"h{n}": f"margin:16px 0 8px;font:bold 16px/22px {_FONT}" for n in range(1, 7)},
    **{"p": "margin:0 0 12px", "a": "color:#10161a"},
    "table": "display:block;max-width:100%;margin:0 0 12px;overflow-x:auto",
    **{"th": f"{_CELL};color:#5c6770", "td": f"{_CELL};color:#414b53"},
    "pre": "margin:0 0 12px;white-space:pre-wrap;font:13px/19px monospace",
    "blockquote": "margin:0 0 12px;padding-left:12px;border-left:3px solid #c3cacd",
}
_CLASSES: Final = {"a": "ink", "th": "hair ink3", "td": "hair ink2"} | {
    f"h{n}": "ink" for n in range(1, 7)
}
# What is written from the right is read from there.
_BLOCKS: Final = {"p", "li", "blockquote", "th", "td", *(f"h{n}" for n in range(1, 7))}
_MOST_BEFORE: Final = 5
# Nobody reads what answers by itself; bounces are welcome.
_AUTOMATIC: Final = {
    "Auto-Submitted": "auto-generated",
    "X-Auto-Response-Suppress": "OOF, AutoReply",
}


def confirmation(message: Message) -> Content:
    subscriber = _subscriber(message)
    if subscriber.state == Subscriber.State.CONFIRMED:
        raise Withdrawn("The address has been confirmed already.")
    if subscriber.state == Subscriber.State.UNSUBSCRIBED:
        raise Withdrawn("The subscriber has unsubscribed.")
    page = StatusPage.default()
    context = {
        "page": page,
        "subscriber": subscriber,
        "site": settings.TOCSIN_URL,
        "days": Subscriber.FORGET_AFTER.days,
    }
    return _content("confirmation", page, context, dict(_AUTOMATIC))


def incident(message: Message) -> Content:
    """The mail of one update."""
    subscriber = _confirmed(message)
    update = (
        IncidentUpdate.objects.select_related("incident")
        .prefetch_related("incident__updates", "incident__impacts__monitor")
        .filter(pk=message.values["update"])
        .first()
    )
    if update is None:
        raise Withdrawn("The update was taken back.")
    if update.incident.is_withdrawn or not update.incident.published_at:
        raise Withdrawn("The incident was deleted, or became part of another.")
    page = StatusPage.default()
    return _of_one(page, subscriber, update, message.values["event"])


def incidents(message: Message) -> Content:
    """The mail of several automatic incidents; of one, if the others were deleted."""
    subscriber = _confirmed(message)
    batch = Batch.objects.filter(pk=message.values["batch"]).first()
    newest = _told_of(batch.newest()) if batch else []
    if not newest:
        raise Withdrawn("The incidents were deleted.")
    page = StatusPage.default()
    if len(newest) == 1:
        return _of_one(page, subscriber, newest[0].update, newest[0].event)
    prefetch_related_objects([page], "shown")
    told = [_told(page, news.update, news.event) for news in newest]
    going_on = [one for one in told if not one["is_over"]]
    context = {
        "page": page,
        "site": settings.TOCSIN_URL,
        "subscriber": subscriber,
        "now": max(one["now"] for one in told),
        "told": [*going_on, *(one for one in told if one["is_over"])],
        "going_on": len(going_on),
        "look": _worst(going_on),
    }
    return _content("incidents", page, context, _of_list(subscriber))


def _told_of(newest: list[FanOut]) -> list[FanOut]:
    """Load what the mail says of each, in a number of queries that does not grow."""
    prefetch_related_objects(
        newest, "update", "incident__updates", "incident__impacts__monitor"
    )
    for news in newest:
        news.update.incident = news.incident
    # What was taken back meanwhile is not told of.
    return [news for news in newest if news.update.is_told]


def _worst(told: list[dict[str, Any]]) -> str:
    looks = {one["look"] for one in told}
    return next((look for look in ("down", "degraded") if look in looks), "up")


def _of_one(
    page: StatusPage, subscriber: Subscriber, update: IncidentUpdate, event: str
) -> Content:
    headers = {
        **_of_list(subscriber),
        # All mails of an incident answer one that was never sent: a thread.
        "In-Reply-To": _thread(update),
        "References": _thread(update),
    }
    context = {**_told(page, update, event), "subscriber": subscriber}
    return _content("incident", page, context, headers)


def _of_list(subscriber: Subscriber) -> dict[str, str]:
    return {
        **_AUTOMATIC,
        "Precedence": "list",
        "List-Id": f"<incidents.{_host()}>",
        "List-Unsubscribe": f"<{subscriber.unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def _confirmed(message: Message) -> Subscriber:
    subscriber = _subscriber(message)
    if subscriber.state != Subscriber.State.CONFIRMED:
        raise Withdrawn("The subscriber has unsubscribed.")
    return subscriber


def _subscriber(message: Message) -> Subscriber:
    found = Subscriber.objects.filter(pk=message.values["subscriber"]).first()
    if found is None:
        raise Withdrawn("The subscriber is gone.")
    return found


def _told(page: StatusPage, update: IncidentUpdate, event: str) -> dict[str, Any]:
    """Gather what the mail of an update says: what was known by then, no more."""
    incident = update.incident
    names = {s.monitor_id: s.label for s in page.shown.all() if s.label}
    # The mail of an earlier update does not claim what a later one has changed.
    story = Story(incident, update.at.astimezone(page.zone), names)
    begun = [a for a in story.affected if a.started_at <= update.at]
    is_over = update.state == State.RESOLVED
    affected = [
        a for a in begun if is_over or a.ended_at is None or a.ended_at > update.at
    ]
    steps = list(State)
    before = [u for u in story.updates if (u.at, u.pk) < (update.at, update.pk)]
    return {
        "page": page,
        "site": settings.TOCSIN_URL,
        "incident": incident,
        "update": update,
        "html": styled(update.html),
        "event": event,
        "kicker": _kicker(update, event),
        "look": _look(story, affected, is_over),
        "affected": affected,
        "is_over": is_over,
        "lead": lead(update),
        "duration": _lasting(update),
        "step": steps.index(State(update.state)) + 1,
        "steps": range(1, len(steps) + 1),
        "now": update.at.astimezone(page.zone),
        "before": [(u, lead(u)) for u in before[:_MOST_BEFORE]],
        "more_before": max(0, len(before) - _MOST_BEFORE),
    }


def _lasting(update: IncidentUpdate) -> str:
    """How long it has lasted, or did; nothing while it has hardly begun."""
    incident, told_at = update.incident, update.at
    is_over = update.state == State.RESOLVED
    if not is_over and incident.published_at:
        # What was noticed before anybody was told has lasted until then.
        told_at = max(told_at, incident.published_at)
    lasting = told_at - incident.started_at
    return duration(lasting) if is_over or lasting >= timedelta(minutes=1) else ""


def _kicker(update: IncidentUpdate, event: str) -> str:
    if event == FanOut.Event.RESOLVED:
        return "Resolved"
    if event == FanOut.Event.REOPENED:
        return "Reopened"
    if event == FanOut.Event.PUBLISHED:
        return "New incident"
    return f"Update: {update.get_state_display().lower()}"


def _look(story: Story, affected: list[Any], is_over: bool) -> str:
    if is_over:
        return "up"
    looks = {a.look for a in affected}
    if looks:
        return "down" if "down" in looks else "degraded"
    critical = story.incident.severity == story.incident.Severity.CRITICAL
    return "down" if critical else "degraded"


def styled(html: str) -> str:
    """Give every element of sanitised HTML the style that mail programs need."""
    names = {*_STYLES, *_CLASSES, *_BLOCKS}
    return nh3.clean(
        markdown.placed(html, below=1),
        link_rel=None,
        attributes={"a": {"href", "title"}},
        set_tag_attribute_values={
            name: {
                **({"style": _STYLES[name]} if name in _STYLES else {}),
                **({"class": _CLASSES[name]} if name in _CLASSES else {}),
                **({"dir": "auto"} if name in _BLOCKS else {}),
            }
            for name in names
        },
    )


def _content(
    name: str, page: StatusPage, context: dict[str, Any], headers: dict[str, str]
) -> Content:
    with timezone.override(page.zone):
        subject, text, html = (
            render_to_string(f"subscriptions/{name}{ending}", context)
            for ending in ("_subject.txt", ".txt", ".html")
        )
    return Content(
        subject=" ".join(subject.split()),
        text=f"{text.strip()}\n",
        html=html,
        headers=headers,
    )


def _thread(update: IncidentUpdate) -> str:
    return f"<incident-{update.incident_id}@{_host()}>"


def _host() -> str:
    return urlsplit(settings.TOCSIN_URL).hostname or "localhost"
