import secrets
from datetime import datetime, timedelta
from typing import ClassVar

from celery import current_app
from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from incidents.models import Incident, IncidentUpdate
from outbox.models import Message, cancel, forget, message
from statuspages.models import StatusPage
from statuspages.stories import on_page


def make_token() -> str:
    return secrets.token_urlsafe(24)


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def confirmed(self) -> "SubscriberQuerySet":
        return self.filter(state=Subscriber.State.CONFIRMED)


class Subscriber(models.Model):
    """An address that has confirmed that it wants to hear of incidents."""

    class State(models.TextChoices):
        PENDING = "PENDING", "Not confirmed"
        CONFIRMED = "CONFIRMED", "Confirmed"
        UNSUBSCRIBED = "UNSUBSCRIBED", "Unsubscribed"

    FORGET_AFTER: ClassVar = timedelta(days=7)
    ASK_AGAIN_AFTER: ClassVar = timedelta(minutes=10)

    email = models.EmailField(unique=True, max_length=254)
    state = models.CharField(
        max_length=12, choices=State.choices, default=State.PENDING
    )
    token = models.CharField(max_length=40, unique=True, default=make_token)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    confirmed_at = models.DateTimeField(null=True, blank=True, editable=False)
    unsubscribed_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        ordering = ["email"]

    def __str__(self) -> str:
        return self.email

    # Factories and transitions

    @classmethod
    @transaction.atomic
    def ask(cls, email: str, *, at: datetime) -> "Subscriber":
        """Send the address a message to confirm, at most one in ten minutes.

        Somebody who has confirmed already gets none; what a stranger sees is
        the same in every case, so that nobody learns who is subscribed.
        """
        subscriber, _ = cls.objects.get_or_create(email=cls.normal(email))
        may_ask = Q(asked_at=None) | Q(asked_at__lte=at - cls.ASK_AGAIN_AFTER)
        asked = (
            cls.objects.filter(may_ask, pk=subscriber.pk)
            .exclude(state=cls.State.CONFIRMED)
            .update(state=cls.State.PENDING, asked_at=at)
        )
        if asked:
            Message.queue(
                [
                    message(
                        dedup_key=f"confirm:{subscriber.pk}:{at.timestamp()}",
                        kind="email",
                        destination=subscriber.email,
                        renderer="confirmation",
                        values={"subscriber": subscriber.pk},
                        recipient_key=subscriber.key,
                    )
                ]
            )
        subscriber.refresh_from_db()
        return subscriber

    @classmethod
    def normal(cls, email: str) -> str:
        """The same mailbox, written in one way."""
        return email.strip().lower()

    @classmethod
    def add(cls, email: str, *, at: datetime) -> "Subscriber":
        """Add an address that an operator vouches for; it needs no confirming."""
        subscriber, _ = cls.objects.get_or_create(email=cls.normal(email))
        subscriber.confirm(at=at)
        return subscriber

    def confirm(self, *, at: datetime) -> bool:
        """Confirm the address; twice does nothing."""
        changed = Subscriber.objects.exclude(state=self.State.CONFIRMED).filter(
            pk=self.pk
        )
        confirmed = changed.update(
            state=self.State.CONFIRMED, confirmed_at=at, unsubscribed_at=None
        )
        self.refresh_from_db()
        return bool(confirmed)

    @transaction.atomic
    def unsubscribe(self, *, at: datetime) -> bool:
        """Send no more, not even what is queued already; twice does nothing."""
        changed = Subscriber.objects.exclude(state=self.State.UNSUBSCRIBED).filter(
            pk=self.pk
        )
        if not changed.update(state=self.State.UNSUBSCRIBED, unsubscribed_at=at):
            return False
        cancel(recipient_key=self.key, reason="The subscriber has unsubscribed.")
        self.refresh_from_db()
        return True

    @classmethod
    @transaction.atomic
    def forget(cls, subscribers: "SubscriberQuerySet") -> None:
        """Delete subscribers, and their addresses wherever else they stand."""
        found = list(subscribers)
        for subscriber in found:
            subscriber.unsubscribe(at=timezone.now())
        forget(subscriber.key for subscriber in found)
        cls.objects.filter(pk__in=[subscriber.pk for subscriber in found]).delete()

    # Properties

    @property
    def key(self) -> str:
        return f"subscriber:{self.pk}"

    @property
    def confirm_url(self) -> str:
        return f"{settings.TOCSIN_URL}/subscribe/confirm/{self.token}/"

    @property
    def unsubscribe_url(self) -> str:
        return f"{settings.TOCSIN_URL}/unsubscribe/{self.token}/"


class FanOut(models.Model):
    """News that must become one message for each subscriber."""

    class Event(models.TextChoices):
        PUBLISHED = "published"
        UPDATED = "updated"
        RESOLVED = "resolved"
        REOPENED = "reopened"

    A_STEP: ClassVar = 500

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="+")
    update = models.OneToOneField(IncidentUpdate, models.CASCADE, related_name="+")
    event = models.CharField(max_length=10, choices=Event.choices)
    created_at = models.DateTimeField(default=timezone.now)
    # The subscribers up to this one have their message.
    through = models.BigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(finished_at=None), name="fan_out_due"
            )
        ]

    def __str__(self) -> str:
        return f"{self.incident} {self.event}"

    @classmethod
    def begin(cls, incident: Incident, update: IncidentUpdate, event: str) -> None:
        """Note the news; the messages are made elsewhere, in steps.

        What the page does not show is not told by mail, either.
        """
        if not on_page(StatusPage.default()).filter(pk=incident.pk).exists():
            return
        cls.objects.get_or_create(
            update=update, defaults={"incident": incident, "event": event}
        )
        current_app.ring("subscriptions.tasks.fan_out_due")

    @transaction.atomic
    def step(self) -> bool:
        """Make the messages of some subscribers; False when all have theirs.

        A step that is repeated makes nothing twice: each message has its key.
        """
        locked = FanOut.objects.select_for_update(no_key=True).get(pk=self.pk)
        if locked.finished_at:
            return False
        if locked.incident.deleted_at:
            locked.finished_at = timezone.now()
            locked.save(update_fields=["finished_at"])
            return False
        # Who subscribes after the news does not get it.
        some = Subscriber.objects.confirmed().filter(
            pk__gt=locked.through, confirmed_at__lte=locked.created_at
        )
        subscribers = list(some.order_by("pk")[: self.A_STEP])
        Message.queue(
            message(
                dedup_key=f"update:{locked.update_id}:subscriber:{subscriber.pk}",
                kind="email",
                destination=subscriber.email,
                renderer="incident",
                values={
                    "update": locked.update_id,
                    "subscriber": subscriber.pk,
                    "event": locked.event,
                },
                recipient_key=subscriber.key,
                topic_key=locked.incident.cause,
            )
            for subscriber in subscribers
        )
        if len(subscribers) < self.A_STEP:
            locked.finished_at = timezone.now()
        if subscribers:
            locked.through = subscribers[-1].pk
        locked.save(update_fields=["through", "finished_at"])
        return locked.finished_at is None
