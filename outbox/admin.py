import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from access.forms import KindForm, kind_fieldsets, kind_form
from egress.kinds import ConfigInvalid

from . import delivery
from .channels import CHANNELS
from .models import Attempt, Message, Trigger

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
        fields = ["name", "kind", "is_active"]
        labels = {"is_active": "Active"}


@admin.register(Trigger)
class TriggerAdmin(desk.Desk):
    actions = ["send_test", "show_secret"]
    list_display = ["name", "kind", "destination", "on", "created"]
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
        first = (None, {"fields": ["name", "kind", "is_active"]})
        return [first, *kind_fieldsets(CHANNELS)]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        kwargs["form"] = kind_form(CHANNELS, TriggerForm)
        return super().get_form(request, obj, change, **kwargs)

    def object_actions(self, shown: Trigger) -> list[desk.ObjectAction]:
        actions = [desk.ObjectAction("send_test", "Send a test")]
        if "secret" in shown.config:
            actions.append(desk.ObjectAction("show_secret", "Show signing secret"))
        return actions

    @admin.action(description="Send a test", permissions=["operate"])
    def send_test(
        self, request: HttpRequest, queryset: QuerySet[Trigger]
    ) -> HttpResponse:
        """Send through the channel itself, now, and show what it answered."""
        tests = [
            (t, *delivery.send_test(t, at=timezone.now())) for t in queryset[:AT_ONCE]
        ]
        rows = [
            [
                desk.link(trigger),
                desk.state("up", "Sent") if sent else desk.state("down", "Failed"),
                answer,
            ]
            for trigger, sent, answer in tests
        ]
        panel = desk.table("Answers", ["Trigger", "Outcome", "Answer"], rows)
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

    @admin.display(description="Created", ordering="created_at")
    def created(self, trigger: Trigger) -> SafeString:
        return desk.moment(trigger.created_at)


@admin.register(Message)
class MessageAdmin(desk.Log):
    actions = ["replay"]
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
        "shown_values",
    ]
    lede = "Everything that had to get out, and what became of it."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        messages = super().get_queryset(request).select_related("trigger")
        return messages.defer("trigger__config")

    def heading(self, shown: Message) -> str:
        return f"{shown.get_kind_display()} to {shown.trigger or shown.destination}"

    def object_actions(self, shown: Message) -> list[desk.ObjectAction]:
        if shown.state == Message.State.QUEUED:
            return []
        again = "Retry" if shown.state == Message.State.FAILED else "Send again"
        return [desk.ObjectAction("replay", again)]

    @admin.action(description="Send again", permissions=["operate"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        again = [m for m in queryset if m.replay(at=timezone.now())]
        outcome = "queued again, key unchanged."
        self.note_changes(request, again, "Sent again.", outcome)

    @admin.display(description="State", ordering="state")
    def shown_state(self, message: Message) -> SafeString:
        look = LOOKS[Message.State(message.state)]
        if message.state == Message.State.QUEUED and message.attempts:
            return desk.state("degraded", "Trying again")
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
        waiting = message.state == Message.State.QUEUED
        return desk.moment(message.due_at, ago=True) if waiting else desk.NOTHING

    @admin.display(description="Values")
    def shown_values(self, message: Message) -> SafeString:
        text = json.dumps(message.values, indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)


def attempts(request: HttpRequest, message: Message) -> str:
    return desk.table(
        "Attempts",
        ["Number", "Begun", "Took", "Outcome", "Answer"],
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
    ]


def messages_panel(title: str, found: QuerySet[Message], query: str) -> str:
    """A panel of the newest messages that an upper app's object is about."""
    newest = found.select_related("trigger").defer("trigger__config")[:20]
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
