"""Mails to subscribers about planned maintenance, made when they are delivered."""

from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from incidents.models import Occurrence
from outbox.channels import Content
from outbox.models import Message
from outbox.rendering import Withdrawn
from statuspages.maintenance import Window
from statuspages.models import StatusPage

from .emails import _confirmed, _content, _of_list, styled
from .models import MaintenanceNews

_KICKERS: Final = {
    "scheduled": "Maintenance planned",
    "reminder": "Maintenance soon",
    "started": "Maintenance has begun",
    "changed": "Maintenance: news",
    "completed": "Maintenance completed",
    "cancelled": "Maintenance cancelled",
}


def mail(message: Message) -> Content:
    """The mail of some news; withdrawn if it is not so any more."""
    subscriber = _confirmed(message)
    news = _news(message)
    if news is None:
        raise Withdrawn("The maintenance was taken back.")
    if not news.is_of_use(timezone.now()):
        raise Withdrawn("The maintenance has moved on since.")
    page = StatusPage.default()
    thread = f"<{news.occurrence.uid}@{_host()}>"
    headers = {
        **_of_list(subscriber),
        # All mails of a date answer one that was never sent: a thread.
        "In-Reply-To": thread,
        "References": thread,
    }
    context = {**_told(page, news), "subscriber": subscriber}
    return _content("maintenance", page, context, headers)


def _news(message: Message) -> MaintenanceNews | None:
    found = MaintenanceNews.objects.select_related("occurrence__maintenance", "update")
    whole = found.prefetch_related("occurrence__maintenance__impacts__monitor")
    return whole.filter(pk=message.values["news"]).first()


def _told(page: StatusPage, news: MaintenanceNews) -> dict[str, Any]:
    """Gather what the mail says, in the page's zone."""
    occurrence, now = news.occurrence, timezone.now().astimezone(page.zone)
    window = _window(page, occurrence, now)
    words = news.update.html if news.update else occurrence.maintenance.html
    plain = news.update.plain if news.update else occurrence.maintenance.plain
    is_first = news.kind == MaintenanceNews.Kind.SCHEDULED
    return {
        "page": page,
        "site": settings.TOCSIN_URL,
        "occurrence": occurrence,
        "window": window,
        "kind": news.kind,
        "kicker": _KICKERS[news.kind],
        "look": "up" if news.kind == MaintenanceNews.Kind.COMPLETED else "plain",
        "html": styled(words),
        "plain": plain,
        "repeats": occurrence.maintenance.describe() if is_first else "",
        "now": now,
    }


def _window(page: StatusPage, occurrence: Occurrence, now: Any) -> Window:
    places = list(page.shown.all())
    names = {place.monitor_id: place.label for place in places if place.label}
    shown = None if page.shows_all else frozenset(p.monitor_id for p in places)
    return Window(occurrence, now, names, shown)


def _host() -> str:
    return urlsplit(settings.TOCSIN_URL).hostname or "localhost"
