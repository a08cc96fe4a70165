"""Shows what a trigger would be sent, also with changes that are not saved yet."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus, urlsplit

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers

from access import desk
from egress.client import Request
from egress.kinds import MASK, ConfigInvalid, secrets_of
from egress.masking import mask_headers
from outbox import templating
from outbox.channels import Channel, Content, DeliveryFailed, Envelope
from outbox.channels.base import HTTPChannel
from outbox.channels.email import EmailChannel
from outbox.models import Trigger

from .models import Alert, Transition
from .notices import AlertContent, sample

NEWEST: Final = 20


class Part(NamedTuple):
    """A piece of what would be sent; HTML is shown as such, where it can do nothing."""

    name: str
    text: str
    is_html: bool = False


def register() -> None:
    name = "outbox_trigger_preview"
    desk.add_page(Trigger, "preview/", preview, f"{name}_new")
    desk.add_page(Trigger, "<int:pk>/preview/", preview, name)


def preview(shown: desk.Desk, request: HttpRequest, pk: int = 0) -> HttpResponse:
    """The page: of the trigger as it is stored, or as its form has been filled in."""
    stored = get_object_or_404(Trigger, pk=pk) if pk else None
    if not _may(shown, request, stored):
        raise PermissionDenied
    trigger, faults = _filled_in(shown, request, stored)
    context = {
        **shown.admin_site.each_context(request),
        **_choices(request),
        "title": f"Preview of {trigger}" if str(trigger) else "Preview",
        "opts": shown.opts,
        "lede": "What would be sent. Nothing was, and nothing is saved.",
        "faults": faults,
    }
    if not faults:
        context["unknown"] = templating.warnings(trigger.channel)
        context["parts"] = list(parts(trigger.channel, _content(**_asked(request))))
    response = TemplateResponse(request, "admin/outbox/trigger/preview.html", context)
    add_never_cache_headers(response)
    return response


def _may(shown: desk.Desk, request: HttpRequest, stored: Trigger | None) -> bool:
    if stored:
        return shown.has_change_permission(request, stored)
    return shown.has_add_permission(request) and request.method == "POST"


def _asked(request: HttpRequest) -> dict[str, str]:
    """Which alert was chosen, by its number, and what is to become of it."""
    chosen = request.POST if request.method == "POST" else request.GET
    return {name: str(chosen.get(f"_{name}", "")) for name in ("alert", "to")}


def _choices(request: HttpRequest) -> dict[str, Any]:
    """What the form on the page offers, and what it takes along."""
    return {
        **_asked(request),
        "alerts": Alert.objects.all()[:NEWEST],
        "states": Alert.State.choices,
        "kept": _kept(request),
        "method": request.method,
    }


def _filled_in(
    shown: desk.Desk, request: HttpRequest, stored: Trigger | None
) -> tuple[Trigger, Mapping[str, Any]]:
    """Return the trigger that the form would save, and what is wrong with it."""
    if stored and request.method != "POST":
        return stored, _unfit(stored)
    made = shown.get_form(request, stored, change=stored is not None)
    form = made(request.POST, instance=stored)
    if form.is_valid():
        return form.instance, {}
    wrong = {
        str(form.fields[name].label) if name in form.fields else "": said
        for name, said in form.errors.items()
    }
    return form.instance, wrong


def _unfit(trigger: Trigger) -> dict[str, list[str]]:
    """What has become wrong with a trigger since it was stored."""
    try:
        trigger.channel  # noqa: B018
    except (ConfigInvalid, KeyError) as error:
        return {"": [f"Its config does not fit: {error}"]}
    return {}


def _kept(request: HttpRequest) -> list[tuple[str, str]]:
    """The form as it was sent, to be sent again with another alert."""
    return [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if not name.startswith(("_", "csrf"))
    ]


def _content(alert: str, to: str) -> Content:
    """What is known of one of the alerts, or of one that there is not."""
    to = to if to in Alert.State.values else str(Alert.State.TRIGGERED)
    # A number that long is no row's, and more than a database takes.
    fit = alert.isdecimal() and len(alert) < 19
    found = Alert.objects.filter(pk=alert).first() if fit else None
    if found is None:
        return AlertContent(sample(to, at=timezone.now()), {"is_test": True})
    return AlertContent(_transition(found, to), {})


def _transition(alert: Alert, to: str) -> Transition:
    """The transition of an alert, as it was or as it might yet be."""
    if found := alert.transitions.filter(to=to).last():
        found.alert = alert
        return found
    now = timezone.now()
    alert.resolved_at = alert.resolved_at or now
    return Transition(alert=alert, to=to, reason="It would be over now.", at=now)


def parts(channel: Channel, content: Content) -> Iterator[Part]:
    """Say what would be sent, without secrets."""
    now = timezone.now()
    envelope = Envelope(
        key="00000000-0000-0000-0000-000000000000",
        destination="",
        created_at=now,
        attempted_at=now,
        topic="preview",
    )
    try:
        yield from _of_channel(channel, content, envelope)
    except DeliveryFailed as failure:
        yield Part("It would fail", str(failure))


def _of_channel(
    channel: Channel, content: Content, envelope: Envelope
) -> Iterator[Part]:
    if isinstance(channel, HTTPChannel):
        yield from _of_request(channel, channel.request(content, envelope))
    elif isinstance(channel, EmailChannel):
        yield from _of_mail(channel, content, envelope)
    else:
        yield Part("Subject", content.subject)
        yield Part("Text", content.text)


def _of_mail(
    channel: EmailChannel, content: Content, envelope: Envelope
) -> Iterator[Part]:
    mail = channel.mail(content, envelope)
    yield Part("From", mail.from_email)
    yield Part("To", ", ".join(mail.to))
    yield Part("Subject", str(mail.subject))
    yield Part("Text", str(mail.body))
    for html, _ in mail.alternatives:
        yield Part("HTML", str(html), is_html=True)


def _of_request(channel: HTTPChannel, asked: Request) -> Iterator[Part]:
    secrets = _spellings(secrets_of(channel))
    yield Part("Request", f"{asked.method} {_masked_address(asked.url)}")
    headers = {name: _without(secrets, value) for name, value in asked.headers.items()}
    lines = (f"{name}: {value}" for name, value in mask_headers(headers).items())
    yield Part("Headers", "\n".join(lines))
    if asked.body:
        body = _pretty(asked.body.decode("utf-8", "replace"))
        yield Part("Body", _without(secrets, body))


def _masked_address(url: str) -> str:
    """An address without what may be secret in it: all that follows the host."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    rest = parts.path.strip("/") or parts.query
    return f"{parts.scheme}://{host}/{MASK if rest else ''}"


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def _spellings(secrets: list[str]) -> list[str]:
    """Each secret as it may stand in JSON, in a form and in an address."""
    ways = (str, lambda s: json.dumps(s, ensure_ascii=False)[1:-1], quote, quote_plus)
    # And such as the token of "Bearer token" by itself.
    words = {word for secret in secrets for word in secret.split() if len(word) > 7}
    found = {way(secret) for secret in {*secrets, *words} for way in ways}
    return sorted(found, key=len, reverse=True)


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
