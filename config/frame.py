"""What the head and the sidebar say on every page of the admin."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet, Subquery

from access import columns
from alerting.models import Alert, AlertRule
from incidents.models import Incident
from monitors.history import shown
from monitors.models import Monitor, Overlay, Status
from outbox.models import Message
from statuspages.models import Snapshot, StatusPage
from statuspages.stories import on_page
from statuspages.words import Headline, Standing, headline
from subscriptions.models import Subscriber


class Frame(NamedTuple):
    """The public page's own headline, and numbers by the label of their model."""

    public: Headline
    numbers: dict[str, str]


def look(at: datetime, user: User | AnonymousUser) -> Frame:
    """Say it in one statement, or six if the page was not built since it changed."""
    incidents = Incident.objects.open().visible_to(user)
    # There is a row to hang it on: without anybody logged in there is no frame.
    me: QuerySet[Any, Any] = User.objects.filter(username=user.get_username())
    row = me.values(**_same_for_all(), incidents=columns.number(incidents)).get()
    public = Headline(row["page_look"], row["page_headline"], "")
    return Frame(public if public.look else _public(at), _in_words(row))


@cache
def _same_for_all() -> dict[str, Subquery]:
    """The columns that are the same for everybody, put together once."""
    counted: dict[str, QuerySet[Any]] = {
        "monitors": Monitor.objects.current(),
        "alerts": Alert.objects.triggered(),
        "rules": AlertRule.objects.current(),
        "subscribers": Subscriber.objects.confirmed(),
        "failed": Message.objects.given_up(),
    }
    built = Snapshot.objects.filter(page__is_default=True, dirty_at=None)[:1]
    return {
        **{name: columns.number(found) for name, found in counted.items()},
        **{
            f"page_{name}": Subquery(built.values(name))
            for name in ("look", "headline")
        },
    }


def _in_words(row: dict[str, Any]) -> dict[str, str]:
    n = {name: number or 0 for name, number in row.items()}
    return {
        "monitors.Monitor": f"{n['monitors']:,}",
        "alerting.AlertRule": f"{n['rules']:,}",
        "subscriptions.Subscriber": f"{n['subscribers']:,}",
        "alerting.Alert": f"{n['alerts']:,} open" if n["alerts"] else "",
        "incidents.Incident": f"{n['incidents']:,} open" if n["incidents"] else "",
        "outbox.Message": f"{n['failed']:,} failed" if n["failed"] else "",
    }


def _public(at: datetime) -> Headline:
    """What the public page would say if it were built now."""
    page = StatusPage.objects.filter(is_default=True).first()
    if page is None:
        return Headline(Status.NO_DATA, "There is no page yet", "")
    monitors = [monitor for _, some in page.rows() for monitor in some]
    laid: dict[int, list[Overlay]] = {}
    for overlay in Overlay.objects.over(at, at).filter(monitor__in=monitors):
        laid.setdefault(overlay.monitor_id, []).append(overlay)
    standings = [
        Standing(
            m.name, shown(m.state.status, laid.get(m.pk, [])), None, not m.is_active
        )
        for m in monitors
    ]
    incidents = list(on_page(page).open().prefetch_related(None))
    return headline(standings, incidents, now=at.astimezone(page.zone), last_end=None)
