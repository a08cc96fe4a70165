import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from access.forms import KindForm, kind_fieldsets, kind_form
from egress.kinds import ConfigInvalid

from . import templating
from .channels import CHANNELS
from .models import Attempt, Circuit, Message, MessageQuerySet, Trigger
from .trial import send_test

LOOKS = {
    Message.State.QUEUED: "maintenance",
    Message.State.DELIVERED: "up",
    Message.State.FAILED: "down",
    Message.State.CANCELLED: "no_data",
}
AT_ONCE = 20


class TriggerForm(KindForm):
    class Meta:
        model = Trigger
        fields = ["name", "kind", "is_active", "most_a_minute"]
        labels = {"is_active": "Active", "most_a_minute": "At most … a minute"}


@admin.register(Trigger)
class TriggerAdmin(desk.Desk):
    actions = ["send_test", "show_secret", "try_now"]
    list_display = ["name", "kind", "destination", "answers", "on", "created"]
    list_select_related = ["circuit"]
    list_filter = ["kind", "is_active"]
    search_fields = ["name"]
    lede = "Where alert rules send their notices."
    consequence = (
        "Rules that use it send nothing there any more; what is queued for it is "
        "cancelled."
    )

    class Media:
        js = ["config/kinds.js"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = (None, {"fields": ["name", "kind", "is_active", "most_a_minute"]})
        return [first, *kind_fieldsets(CHANNELS)]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        kwargs["form"] = kind_form(CHANNELS, TriggerForm)
        return super().get_form(request, obj, change, **kwargs)

    def save_model(
        self, request: HttpRequest, obj: Trigger, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        for said in templating.warnings(obj.channel):
            self.message_user(request, said, messages.WARNING)

    def object_actions(self, shown: Trigger) -> list[desk.ObjectAction]:
        actions = [desk.ObjectAction("send_test", "Send a test")]
        if "secret" in shown.config:
            actions.append(desk.ObjectAction("show_secret", "Show signing secret"))
        if _is_held(shown.breaker):
            actions.insert(0, desk.ObjectAction("try_now", "Try now"))
        return actions

    @admin.action(description="Try now what waits", permissions=["operate"])
    def try_now(self, request: HttpRequest, queryset: QuerySet[Trigger]) -> None:
        """Attempt the next message at once, whatever the pause was to be."""
        held = [trigger for trigger in queryset if _is_held(trigger.breaker)]
        Circuit.try_now([trigger.pk for trigger in held], at=timezone.now())
        self.note_changes(request, held, "Tried now.", "tried now.")

    @admin.action(description="Send a test", permissions=["operate"])
    def send_test(
        self, request: HttpRequest, queryset: QuerySet[Trigger]
    ) -> HttpResponse:
        """Send through the channel itself, now, and show what it answered."""
        rows = [
            [
                desk.link(trigger),
                what,
                desk.state("up", "Sent") if sent else desk.state("down", "Failed"),
                answer,
            ]
            for trigger in queryset[:AT_ONCE]
            for what, sent, answer in send_test(trigger, at=timezone.now())
        ]
        heads = ["Trigger", "Message", "Outcome", "Answer"]
        panel = desk.table("Answers", heads, rows)
        lede = "Sent just now, past the outbox, and not tried again."
        return self._outcome(request, "Test", lede, panel)

    @admin.action(description="Show signing secret", permissions=["operate"])
    def show_secret(
        self, request: HttpRequest, queryset: QuerySet[Trigger]
    ) -> HttpResponse:
        """Show what the receiver needs to verify signatures with."""
        rows = [
            [desk.link(t), t.config.get("secret") or desk.NOTHING]
            for t in queryset[:AT_ONCE]
        ]
        panel = desk.table("Signing secrets", ["Trigger", "Secret"], rows)
        lede = "Give it to the receiver only: it proves that a message is ours."
        return self._outcome(request, "Signing secret", lede, panel)

    def _outcome(
        self, request: HttpRequest, title: str, lede: str, panel: str
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "lede": lede,
            "panel": panel,
            "back": desk.came_from(request),
        }
        response = TemplateResponse(request, "admin/outcome.html", context)
        add_never_cache_headers(response)
        return response

    @admin.display(description="On", ordering="is_active")
    def on(self, trigger: Trigger) -> str | SafeString:
        return "on" if trigger.is_active else desk.state("no_data", "Off")

    @admin.display(description="Destination")
    def destination(self, trigger: Trigger) -> str | SafeString:
        try:
            return trigger.channel.destination() or desk.NOTHING
        except (ConfigInvalid, KeyError) as error:
            return desk.state("down", f"Its config does not fit: {error}")

    @admin.display(description="Answers")
    def answers(self, trigger: Trigger) -> SafeString:
        return shown_circuit(trigger.breaker)

    @admin.display(description="Created", ordering="created_at")
    def created(self, trigger: Trigger) -> SafeString:
        return desk.moment(trigger.created_at)


def _is_held(circuit: Circuit | None) -> bool:
    if circuit is None:
        return False
    resumes = circuit.resumes_at
    return circuit.is_open or (resumes is not None and resumes > timezone.now())


def shown_circuit(circuit: Circuit | None) -> SafeString:
    """Whether a trigger answers, and if not, since when and when it is next tried."""
    if circuit is None or not _is_held(circuit) or circuit.resumes_at is None:
        return desk.NOTHING
    again = desk.due(circuit.resumes_at)
    if not circuit.is_open or circuit.since is None:
        return desk.state("degraded", f"Asked us to wait, next try {again}")
    if circuit.state_at(timezone.now()) == Circuit.State.PROBING:
        again = "is going on"
    failing = desk.state("down", f"Failing since {_minute(circuit.since)}")
    return format_html("{}<small>next try {}</small>", failing, again)


def _minute(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %H:%M} UTC"


# What may be done to all messages that a list shows: the route, what is asked,
# what is said, and what it does to how many.


class ForAll(NamedTuple):
    question: str
    consequence: str
    button: str
    outcome: str
    states: tuple[str, ...]


FOR_ALL = {
    "send-again": ForAll(
        "Send {} again?",
        "Each goes out once more under its key, so that a receiver can tell that "
        "it has seen it. Those that wait are left as they are.",
        "Send again",
        "queued again, keys unchanged.",
        (Message.State.DELIVERED, Message.State.FAILED, Message.State.CANCELLED),
    ),
    "dismiss": ForAll(
        "Dismiss {}?",
        "They stay in the log, and are not called wrong any more.",
        "Dismiss",
        "dismissed.",
        (Message.State.FAILED,),
    ),
}
MOST_AT_ONCE = 10_000
# In an address, what says nothing about which messages are meant.
NO_FILTERS = frozenset({"o", "p", "all", "e"})
# What a list may be filtered by besides what stands beside it.
LOOKUPS = frozenset(
    {
        "trigger__id__exact",
        "trigger__isnull",
        "destination__exact",
        "dismissed_at__isnull",
    }
)


@admin.register(Message)
class MessageAdmin(desk.Log):
    actions = ["replay", "dismiss"]
    change_list_template = "admin/outbox/message/change_list.html"
    list_display = [
        "shown_state",
        "to",
        "about",
        "attempts",
        "answer",
        "created",
        "finished",
    ]
    list_filter = ["state", "kind", "created_at"]
    search_fields = ["destination", "=topic_key", "=recipient_key", "trigger__name"]
    search_help_text = "An address, a trigger, or a topic such as incident:7"
    ordering = ["-pk"]
    fields = [
        "shown_state",
        "to",
        "about",
        "attempts",
        "answer",
        "created",
        "next_attempt",
        "finished",
        "key",
        "reference",
        "shown_values",
    ]
    lede = "Everything that had to get out, and what became of it."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        related = super().get_queryset(request).select_related("trigger__circuit")
        return related.defer("trigger__config")

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup in LOOKUPS or super().lookup_allowed(lookup, value, request)

    # For all of a list

    def get_urls(self) -> list[URLPattern]:
        def routed(name: str) -> URLPattern:
            view = self.admin_site.admin_view(partial(self.for_all, name=name))
            return path(f"all/{name}/", view, name=f"outbox_message_{name}_all")

        return [*(routed(name) for name in FOR_ALL), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        is_filtered = bool(request.GET.keys() - NO_FILTERS)
        extra = {
            "is_filtered": is_filtered and self.has_operate_permission(request),
            "filters": request.GET.urlencode(),
        }
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def for_all(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask, and then do it to all messages that the address speaks of."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        back = request.GET.get("next", "")
        found, wanted = self._meant(request), FOR_ALL[name]
        if found is None:
            self.message_user(request, "Filter the list first.", messages.WARNING)
            return redirect("admin:outbox_message_changelist")
        found = found.filter(state__in=wanted.states)
        if request.method == "POST":
            return self._done_for_all(request, name, found)
        n = found.order_by()[: MOST_AT_ONCE + 1].count()
        context = {
            **self.admin_site.each_context(request),
            "title": wanted.question.format(
                desk.count(min(n, MOST_AT_ONCE), "message")
            ),
            "opts": self.opts,
            "wanted": wanted,
            "number": n,
            "is_more": n > MOST_AT_ONCE,
            "back": back,
            "newest": [(desk.link(m), self.to(m), self.answer(m)) for m in found[:5]],
        }
        return TemplateResponse(request, "admin/outbox/message/for_all.html", context)

    def _meant(self, request: HttpRequest) -> MessageQuerySet | None:
        """The messages that the list of this address shows; None for all of them."""
        query: Any = request.GET.copy()
        query.pop("next", None)
        request.GET = query
        if not query.keys() - NO_FILTERS:
            return None
        try:
            return self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return None

    def _done_for_all(
        self, request: HttpRequest, name: str, found: MessageQuerySet
    ) -> HttpResponse:
        at, wanted = timezone.now(), FOR_ALL[name]
        found = Message.objects.filter(pk__in=found.order_by().values("pk"))
        n = found.replay(at=at) if name == "send-again" else found.dismiss(at=at)
        words = desk.count(n, "message")
        LogEntry.objects.create(
            user_id=request.user.pk or 0,
            content_type=ContentType.objects.get_for_model(Message),
            object_repr=f"{words}: {request.GET.urlencode()}"[:200],
            action_flag=CHANGE,
            change_message=wanted.outcome.capitalize(),
        )
        self.message_user(request, f"{words.capitalize()} {wanted.outcome}")
        listed = desk.list_address(Message, request.GET.urlencode())
        return redirect(desk.came_from(request) or listed)

    def heading(self, shown: Message) -> str:
        return f"{shown.get_kind_display()} to {shown.trigger or shown.destination}"

    def object_actions(self, shown: Message) -> list[desk.ObjectAction]:
        if shown.state == Message.State.QUEUED:
            return []
        if shown.state != Message.State.FAILED:
            return [desk.ObjectAction("replay", "Send again")]
        retry = [desk.ObjectAction("replay", "Retry")]
        dismiss = (
            [] if shown.dismissed_at else [desk.ObjectAction("dismiss", "Dismiss")]
        )
        return retry + dismiss

    @admin.action(description="Send again", permissions=["operate"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        again = [m for m in queryset if m.replay(at=timezone.now())]
        outcome = "queued again, key unchanged."
        self.note_changes(request, again, "Sent again.", outcome)

    @admin.action(description="Dismiss", permissions=["operate"])
    def dismiss(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        """Say of what was given up that it needs nobody any more."""
        at = timezone.now()
        done = [m for m in queryset if Message.objects.filter(pk=m.pk).dismiss(at=at)]
        self.note_changes(request, done, "Dismissed.", "dismissed.")

    @admin.display(description="State", ordering="state")
    def shown_state(self, message: Message) -> SafeString:
        look = LOOKS[Message.State(message.state)]
        if message.state == Message.State.QUEUED and message.attempts:
            return desk.state("degraded", "Trying again")
        if message.dismissed_at:
            return desk.state("no_data", "Given up, dismissed")
        return desk.state(look, message.get_state_display())

    @admin.display(description="To")
    def to(self, message: Message) -> str | SafeString:
        trigger, kind = message.trigger, message.get_kind_display()
        to = desk.link(trigger) if trigger else message.destination or desk.NOTHING
        return format_html("{}<small>{}</small>", to, kind)

    @admin.display(description="About", ordering="topic_key")
    def about(self, message: Message) -> SafeString:
        key = message.topic_key or message.recipient_key
        return format_html("{}<small>{}</small>", desk.topic(key), message.renderer)

    @admin.display(description="Last answer")
    def answer(self, message: Message) -> SafeString:
        if not message.last_answer:
            return desk.NOTHING
        return format_html('<code class="said">{}</code>', message.last_answer[:200])

    @admin.display(description="Created", ordering="created_at")
    def created(self, message: Message) -> SafeString:
        return desk.moment(message.created_at)

    @admin.display(description="Finished", ordering="finished_at")
    def finished(self, message: Message) -> SafeString:
        return desk.moment(message.finished_at)

    @admin.display(description="Next attempt")
    def next_attempt(self, message: Message) -> SafeString:
        if message.state != Message.State.QUEUED:
            return desk.NOTHING
        circuit = message.trigger.breaker if message.trigger else None
        resumes = circuit.resumes_at if circuit else None
        return desk.moment(max(message.due_at, resumes or message.due_at), ago=True)

    @admin.display(description="Values")
    def shown_values(self, message: Message) -> SafeString:
        text = json.dumps(message.values, indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)


def attempts(request: HttpRequest, message: Message) -> str:
    return desk.table(
        "Attempts",
        ["Number", "Begun", "Took", "Outcome", "Answer", "Asked"],
        (attempt_row(attempt) for attempt in message.log.all()),
        note=f"The key {message.key} is the same on each",
        empty="Nothing has been attempted yet.",
    )


def attempt_row(attempt: Attempt) -> Sequence[object]:
    took = (attempt.finished_at - attempt.started_at).total_seconds()
    good = attempt.is_success
    return [
        attempt.number,
        desk.moment(attempt.started_at),
        f"{took:.1f} s",
        desk.state("up", "Delivered") if good else desk.state("down", "Failed"),
        format_html('<code class="said">{}</code>', attempt.answer),
        asked(attempt.request),
    ]


def asked(request: Mapping[str, Any]) -> SafeString:
    """What was asked, folded up, as one would write it down: secrets are ***."""
    if not request:
        return desk.NOTHING
    if "url" not in request:
        return format_html("{}<small>{}</small>", request["to"], request["subject"])
    lines = [f"{name}: {value}" for name, value in request["headers"].items()]
    return format_html(
        "<details><summary>{} {}</summary><pre>{}\n\n{}</pre></details>",
        request["method"],
        request["url"],
        "\n".join(lines),
        request["body"],
    )


def circuit_panel(request: HttpRequest, trigger: Trigger) -> str:
    """What is known of a trigger that fails, and what waits for it."""
    circuit = trigger.breaker
    if circuit is None or not _is_held(circuit):
        return ""
    waiting = Message.objects.waiting().filter(trigger=trigger)
    listed = desk.list_address(
        Message, f"state__exact=QUEUED&trigger__id__exact={trigger.pk}"
    )
    words = desk.count(waiting.count(), "message").capitalize()
    row = [
        shown_circuit(circuit),
        desk.moment(circuit.since),
        desk.moment(circuit.resumes_at, ago=True),
        format_html('<a href="{}">{}</a>', listed, words),
        format_html('<code class="said">{}</code>', circuit.last_answer),
    ]
    heads = ["State", "First failure", "Next try", "Waiting", "Last answer"]
    return desk.table("It does not answer", heads, [row])


def messages_panel(title: str, found: QuerySet[Message], query: str) -> str:
    """A panel of the newest messages that an upper app's object is about."""
    newest = found.select_related("trigger__circuit").defer("trigger__config")[:20]
    shown = MessageAdmin(Message, admin.site)
    more = desk.list_address(Message, query)
    return desk.table(
        title,
        ["State", "To", "Attempts", "Last answer", "Created"],
        (
            [
                desk.link(m, shown.shown_state(m)),
                shown.to(m),
                m.attempts,
                shown.answer(m),
                shown.created(m),
            ]
            for m in newest
        ),
        note=format_html('<a href="{}">All of them</a>', more),
        empty="Nothing was sent.",
    )


desk.add_panel(Message, attempts)
desk.add_panel(Trigger, circuit_panel)
