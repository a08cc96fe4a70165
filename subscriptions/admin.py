from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from incidents.models import Incident, MaintenanceSettings
from outbox.admin import messages_panel
from outbox.models import Message

from .models import Subscriber

LOOKS = {
    Subscriber.State.PENDING: "maintenance",
    Subscriber.State.CONFIRMED: "up",
    Subscriber.State.UNSUBSCRIBED: "no_data",
}


class SubscriberForm(forms.ModelForm):
    class Meta:
        model = Subscriber
        fields = ["email"]
        help_texts = {
            "email": "You vouch that they want to hear: they are not asked again."
        }

    def clean_email(self) -> str:
        return Subscriber.normal(self.cleaned_data["email"])


@admin.register(Subscriber)
class SubscriberAdmin(desk.Desk):
    form = SubscriberForm
    actions = ["unsubscribe"]
    list_display = ["email", "shown_state", "asked", "confirmed", "unsubscribed"]
    list_filter = ["state", "created_at", "confirmed_at"]
    search_fields = ["email"]
    lede = "Who wants to hear of incidents. Strangers confirm by mail first."
    consequence = "The address is forgotten; what is queued for it is cancelled."

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, with a way to the one setting of what is sent."""
        context = {"settings": MaintenanceSettings.current(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        facts = ["shown_state", "asked", "confirmed", "unsubscribed"]
        return ["email", *facts] if obj else ["email"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["shown_state", "asked", "confirmed", "unsubscribed"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # another address is another subscriber

    def save_model(
        self, request: HttpRequest, obj: Subscriber, form: Any, change: bool
    ) -> None:
        obj.pk = Subscriber.add(obj.email, at=timezone.now()).pk

    def delete_model(self, request: HttpRequest, obj: Subscriber) -> None:
        Subscriber.forget(Subscriber.objects.filter(pk=obj.pk))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[Subscriber]
    ) -> None:
        Subscriber.forget(Subscriber.objects.filter(pk__in=queryset.values("pk")))

    def object_actions(self, shown: Subscriber) -> list[desk.ObjectAction]:
        if shown.state == Subscriber.State.UNSUBSCRIBED:
            return []
        return [desk.ObjectAction("unsubscribe", "Unsubscribe")]

    @admin.action(description="Unsubscribe", permissions=["operate"])
    def unsubscribe(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        gone = [s for s in queryset if s.unsubscribe(at=timezone.now())]
        outcome = "unsubscribed; what was queued is gone."
        self.note_changes(request, gone, "Unsubscribed.", outcome)

    @admin.display(description="State", ordering="state")
    def shown_state(self, subscriber: Subscriber) -> SafeString:
        look = LOOKS[Subscriber.State(subscriber.state)]
        return desk.state(look, subscriber.get_state_display())

    @admin.display(description="Asked to confirm", ordering="asked_at")
    def asked(self, subscriber: Subscriber) -> SafeString:
        return desk.moment(subscriber.asked_at)

    @admin.display(description="Confirmed", ordering="confirmed_at")
    def confirmed(self, subscriber: Subscriber) -> SafeString:
        return desk.moment(subscriber.confirmed_at)

    @admin.display(description="Unsubscribed", ordering="unsubscribed_at")
    def unsubscribed(self, subscriber: Subscriber) -> SafeString:
        return desk.moment(subscriber.unsubscribed_at)


def messages(request: HttpRequest, subscriber: Subscriber) -> str:
    found = Message.objects.filter(recipient_key=subscriber.key)
    return messages_panel("Messages", found, f"q={subscriber.key}")


def audience(request: HttpRequest, incident: Incident) -> str:
    if not incident.published_at:
        return ""
    return format_html(
        "<div><dt>E-mail</dt><dd>{}<small>confirmed subscribers</small></dd></div>",
        f"{Subscriber.objects.confirmed().count():,}",
    )


def reach_of_draft(request: HttpRequest, incident: Incident) -> str:
    number = Subscriber.objects.confirmed().count()
    if not incident.is_draft or not number:
        return ""
    return f"{desk.count(number, 'subscriber').capitalize()} will get this by e-mail."


desk.name_topic("subscriber", Subscriber)
desk.add_panel(Subscriber, messages)
desk.add_panel(Incident, audience, "audience")
desk.add_panel(Incident, reach_of_draft, "draft")
