"""Subscribe, confirm, unsubscribe. Nobody is asked for a cookie.

The forms stand on pages that are the same for every visitor, and mail programs
unsubscribe without having seen any page: none of them can carry a CSRF token.
What a link may do depends on its token alone, and asking for a message to
somebody else's address is bounded instead.
"""

import hashlib
import ipaddress
from typing import Any, Final

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from statuspages.models import StatusPage

from .forms import SubscribeForm
from .models import Subscriber

AN_HOUR: Final = 3600
MOST_AN_HOUR: Final = 30

_takes_forms = require_http_methods(["GET", "HEAD", "POST"])


@csrf_exempt
@never_cache
@_takes_forms
def subscribe(request: HttpRequest) -> HttpResponse:
    """Ask an address to confirm; the answer does not tell who is subscribed."""
    if request.method != "POST":
        return _page("subscribe", form=SubscribeForm())
    form = SubscribeForm(request.POST)
    if not form.is_valid():
        return _page("subscribe", status=400, form=form)
    if not _may_ask(request):
        response = _page("subscribe", status=429, form=form, is_too_many=True)
        response.headers["Retry-After"] = str(AN_HOUR)
        return response
    Subscriber.ask(form.cleaned_data["email"], at=timezone.now())
    return _page("asked", email=form.cleaned_data["email"])


@csrf_exempt
@never_cache
@_takes_forms
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button and confirm when it is pressed.

    Scanners of mail follow every link; what they open must not confirm.
    """
    subscriber = Subscriber.objects.filter(token=token).first()
    if subscriber is None:
        return _page("unknown", status=404)
    if request.method == "POST":
        subscriber.confirm(at=timezone.now())
    is_done = subscriber.state == Subscriber.State.CONFIRMED
    return _page("confirmed" if is_done else "confirm", subscriber=subscriber)


@csrf_exempt
@never_cache
@_takes_forms
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button and unsubscribe when it is pressed, or when a mail program
    POSTs List-Unsubscribe=One-Click (RFC 8058).
    """
    subscriber = Subscriber.objects.filter(token=token).first()
    if subscriber is None:
        return _page("unknown", status=404)
    if request.method == "POST":
        subscriber.unsubscribe(at=timezone.now())
    is_done = subscriber.state == Subscriber.State.UNSUBSCRIBED
    return _page("unsubscribed" if is_done else "unsubscribe", subscriber=subscriber)


def _page(name: str, *, status: int = 200, **context: Any) -> HttpResponse:
    page = StatusPage.default()
    context |= {
        "page": page,
        "now": timezone.now().astimezone(page.zone),
        "forget_days": Subscriber.FORGET_AFTER.days,
    }
    with timezone.override(page.zone):
        body = render_to_string(f"subscriptions/{name}.html", context)
    response = HttpResponse(body, status=status)
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def _may_ask(request: HttpRequest) -> bool:
    """Count what a client asks for, and say whether it may still ask this hour."""
    hour = int(timezone.now().timestamp()) // AN_HOUR
    client = hashlib.sha256(_client(request).encode()).hexdigest()[:32]
    key = f"asked:{hour}:{client}"
    count = cache.get(key, 0) + 1
    cache.set(key, count, AN_HOUR)
    return bool(count <= MOST_AN_HOUR)


def _client(request: HttpRequest) -> str:
    """The address that asks; all of an IPv6 network is one client."""
    address = request.META.get("REMOTE_ADDR", "")
    # Only a proxy of our own is believed about whom it speaks for: the last
    # entry is the one it wrote itself.
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    if forwarded and _parsed(address) and _parsed(address).is_private:
        address = forwarded
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed or "unknown")


def _parsed(address: str) -> Any:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
