import gzip
import hashlib
import logging
import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from django.db.models import Subquery
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.views.decorators.http import require_safe

from access import columns
from incidents.models import Incident, IncidentQuerySet
from incidents.words import duration
from monitors import recording
from monitors.history import midnights

from . import maintenance as planned
from . import snapshot
from .models import Snapshot, StatusPage
from .stories import Story, by_day, on_page, related, told_instead

logger = logging.getLogger(__name__)

# A snapshot older than this means that no worker builds any.
STALE_AFTER: Final = timedelta(minutes=2)
# As many incidents as one page of the history tells of.
A_PAGE: Final = 50
# Visitors ask again each time, and mostly hear "not modified"; what stands
# between may keep a page for seconds.
CACHE_CONTROL: Final = "public, max-age=0, s-maxage=5"


@require_safe
def status(request: HttpRequest) -> HttpResponseBase:
    """Serve the snapshot of the default page: one read a visit."""
    found = Snapshot.objects.filter(page__is_default=True).first()
    at = timezone.now()
    if found is None or found.built_at is None or found.built_at < at - STALE_AFTER:
        found = _build_here(found, at)
    return _answer(request, bytes(found.body), found.etag)


def _build_here(found: Snapshot | None, at: datetime) -> Snapshot:
    """Build at the visit what no worker has built, and claim nothing unseen."""
    try:
        if found:
            # If nobody builds pages, nobody may be checking either.
            recording.expire(at=at)
        return snapshot.build(found.page if found else StatusPage.default())
    except Exception:
        if found is None or not found.body:
            raise
        # An old page with its time on it is better than none.
        logger.exception("The page could not be built at a visit")
        return found


@require_safe
def incident(request: HttpRequest, pk: int) -> HttpResponseBase:
    page = StatusPage.default()
    now = timezone.now().astimezone(page.zone)
    found = on_page(page).filter(pk=pk).first()
    if found is None:
        return _instead(page, pk)
    [story] = _stories(page, [found], now)
    reports = [update.at for update in story.updates]
    noticed = min(reports, default=found.started_at) - found.started_at
    is_automatic = found.source == Incident.Source.ALERT
    return _page(
        request,
        page,
        "statuspages/incident.html",
        {
            "incident": found,
            "story": story,
            "look": story.look,
            "length": duration(story.lasting),
            "noticed_after": duration(noticed) if is_automatic else "",
            "related": related(page, found),
            "now": now,
        },
    )


def _instead(page: StatusPage, pk: int) -> HttpResponse:
    """Lead from a merged incident to where it is told of; a merge may be undone."""
    target = told_instead(page, pk)
    if target is None:
        raise Http404
    response = HttpResponseRedirect(target.path)
    response.headers["Cache-Control"] = CACHE_CONTROL
    return response


@require_safe
def maintenance(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Tell of one date of a maintenance."""
    page = StatusPage.default()
    now = timezone.now().astimezone(page.zone)
    found = planned.on_page(page).filter(pk=pk).prefetch_related("updates").first()
    if found is None:
        raise Http404
    window = planned.Window(found, now, *_places(page))
    context = {
        "occurrence": found,
        "window": window,
        "look": window.look,
        "repeats": found.maintenance.describe(),
        "now": now,
    }
    return _page(request, page, "statuspages/maintenance.html", context)


@require_safe
def history(request: HttpRequest, month: str = "") -> HttpResponseBase:
    """Tell of every incident that began in a month of the page's zone."""
    page = StatusPage.default()
    now = timezone.now().astimezone(page.zone)
    first = _first_of(month) if month else now.date().replace(day=1)
    if first is None or first > now.date():
        raise Http404
    following = (first + timedelta(days=31)).replace(day=1)
    begin, end = (midnights(day, 1, page.zone)[0] for day in (first, following))
    told = on_page(page)
    number = _number(request.GET.get("page", "1"))
    of_month = told.filter(started_at__gte=begin, started_at__lt=end)
    # One more than is shown says whether there are more.
    found = list(of_month[(number - 1) * A_PAGE : number * A_PAGE + 1])
    if number > 1 and not found:
        raise Http404
    stories = _stories(page, found[:A_PAGE], now)
    has_more = len(found) > A_PAGE
    total, older = _around(page, of_month, told.filter(started_at__lt=begin))
    return _page(
        request,
        page,
        "statuspages/history.html",
        {
            "month": first,
            "days": by_day(stories),
            "total": total,
            "newer_part": number - 1,
            "older_part": number + 1 if has_more else None,
            # Months without any incident are skipped on the way back.
            "earlier": older and older.astimezone(page.zone),
            "later": following if following <= now.date() else None,
            "here": "history",
            "now": now,
        },
    )


def _around(
    page: StatusPage, of_month: IncidentQuerySet, before: IncidentQuerySet
) -> tuple[int, datetime | None]:
    """Return how many a month has, and when the newest before it began."""
    newest = before.order_by("-started_at").values("started_at")[:1]
    asked = StatusPage.objects.filter(pk=page.pk).order_by()
    return asked.values_list(columns.number(of_month), Subquery(newest)).get()


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    context = {"page": StatusPage.objects.filter(is_default=True).first()}
    return HttpResponse(render_to_string("404.html", context), status=404)


def _number(said: str) -> int:
    """The number of a page, from 1; whatever is none is not found."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", said):
        raise Http404
    return int(said)


def _first_of(month: str) -> date | None:
    try:
        first = datetime.strptime(month, "%Y-%m").date()
    except ValueError:
        return None
    return first if first.year >= 2000 else None


def _stories(page: StatusPage, incidents: Any, now: datetime) -> list[Story]:
    names, shown = _places(page)
    return [Story(incident, now, names, shown) for incident in incidents]


def _places(page: StatusPage) -> tuple[dict[int, str], frozenset[int] | None]:
    """Return the page's own names of monitors, and which it shows if not all."""
    places = list(page.shown.all())
    names = {place.monitor_id: place.label for place in places if place.label}
    shown = None if page.shows_all else frozenset(p.monitor_id for p in places)
    return names, shown


def _page(
    request: HttpRequest, page: StatusPage, template: str, context: dict[str, Any]
) -> HttpResponseBase:
    """Render without the request: no byte depends on who is asking."""
    with timezone.override(page.zone):
        body = render_to_string(template, {"page": page, **context}).encode()
    return _answer(request, body, hashlib.sha256(body).hexdigest()[:40])


def _answer(request: HttpRequest, body: bytes, etag: str) -> HttpResponseBase:
    # Weak, since the same page may be sent compressed.
    tag = f'W/"{etag}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=tag)
    if response is None:
        accepted = request.headers.get("Accept-Encoding", "")
        if "gzip" in accepted and "gzip;q=0" not in accepted.replace(" ", ""):
            response = HttpResponse(_compressed(etag, body))
            response.headers["Content-Encoding"] = "gzip"
        else:
            response = HttpResponse(body)
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = CACHE_CONTROL
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


@lru_cache(maxsize=8)
def _compressed(etag: str, body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=6, mtime=0)
