import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import ClassVar

from celery import current_app
from django.conf import settings
from django.db import models, transaction
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from incidents.models import (
    Automation,
    Incident,
    IncidentUpdate,
    Occurrence,
    OccurrenceUpdate,
)
from outbox.models import Message, cancel, forget, message
from statuspages import maintenance as planned
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


class ToEverybody(models.Model):
    """What must become one message for each subscriber, made in steps."""

    A_STEP: ClassVar = 500

    created_at = models.DateTimeField(default=timezone.now)
    # The subscribers up to this one have their message.
    through = models.BigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @transaction.atomic
    def step(self) -> bool:
        """Make the messages of some subscribers; False when all have theirs.

        A step that is repeated makes nothing twice: each message has its key.
        """
        locked = type(self)._default_manager.select_for_update(no_key=True)
        return locked.get(pk=self.pk)._step()

    def _step(self) -> bool:
        if self.finished_at:
            return False
        self.close()
        make = self.maker()
        subscribers = self._next_subscribers() if make else []
        if make:
            Message.queue(make(subscriber) for subscriber in subscribers)
        if len(subscribers) < self.A_STEP:
            self.finish()
        if subscribers:
            self.through = subscribers[-1].pk
        self.save()
        return self.finished_at is None

    def _next_subscribers(self) -> list[Subscriber]:
        """Who subscribes after the news does not get it."""
        some = Subscriber.objects.confirmed().filter(
            pk__gt=self.through, confirmed_at__lte=self.known_at
        )
        return list(some.order_by("pk")[: self.A_STEP])

    @property
    def known_at(self) -> datetime:
        return self.created_at

    def close(self) -> None:
        """Take in no more."""

    def maker(self) -> Callable[[Subscriber], Message] | None:
        """Return what makes the message of a subscriber; nothing if none is due."""
        raise NotImplementedError

    def finish(self) -> None:
        self.finished_at = timezone.now()


class Batch(ToEverybody):
    """News of automatic incidents that go out together, as one mail each."""

    due_at = models.DateTimeField()
    is_collecting = models.BooleanField(default=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        verbose_name_plural = "batches"
        constraints = [
            UniqueConstraint(
                fields=["is_collecting"],
                condition=Q(is_collecting=True),
                name="one_collecting_batch",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(finished_at=None), name="batch_due"
            )
        ]

    def __str__(self) -> str:
        return f"News of {self.created_at:%Y-%m-%d %H:%M:%S}"

    @classmethod
    def collecting(cls, settings: Automation, *, at: datetime) -> "Batch":
        """The batch that takes in news now, held until the transaction ends."""
        found = cls.objects.select_for_update(no_key=True).filter(is_collecting=True)
        batch = found.first()
        if batch is None:
            due_at = cls._next_due(settings, at)
            made = Batch(created_at=at, due_at=due_at)
            Batch.objects.bulk_create([made], ignore_conflicts=True)
            batch = found.get()
        return batch

    @classmethod
    def _next_due(cls, settings: Automation, at: datetime) -> datetime:
        """Wait a little after the first news, and longer after a mail has gone out."""
        last = cls.objects.exclude(closed_at=None).order_by("-pk").first()
        soon = at + timedelta(seconds=settings.group_wait)
        if last is None or last.closed_at is None:
            return soon
        again = last.closed_at + timedelta(seconds=settings.group_interval)
        return again if again > at else soon

    @property
    def known_at(self) -> datetime:
        return self.closed_at or self.created_at

    def close(self) -> None:
        if self.is_collecting:
            self.is_collecting, self.closed_at = False, timezone.now()

    def newest(self) -> list["FanOut"]:
        """The newest news of each incident, in the order they came."""
        told = {"incident__deleted_at": None, "incident__discarded_at": None}
        shown = self.news.filter(**told).order_by("pk")
        by_incident = {news.incident_id: news for news in shown}
        return list(by_incident.values())

    def maker(self) -> Callable[[Subscriber], Message] | None:
        newest = self.newest()
        if len(newest) > 1:
            return self.message_to
        return newest[0].message_to if newest else None

    def message_to(self, subscriber: Subscriber) -> Message:
        return message(
            dedup_key=f"batch:{self.pk}:subscriber:{subscriber.pk}",
            kind="email",
            destination=subscriber.email,
            renderer="incidents",
            values={"batch": self.pk, "subscriber": subscriber.pk},
            recipient_key=subscriber.key,
            topic_key=f"batch:{self.pk}",
        )

    def finish(self) -> None:
        super().finish()
        self.news.update(finished_at=self.finished_at)


class FanOut(ToEverybody):
    """News that must become one message for each subscriber."""

    class Event(models.TextChoices):
        PUBLISHED = "published"
        UPDATED = "updated"
        RESOLVED = "resolved"
        REOPENED = "reopened"

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="+")
    update = models.OneToOneField(IncidentUpdate, models.CASCADE, related_name="+")
    event = models.CharField(max_length=10, choices=Event.choices)
    # With what it goes out together; by itself if there is none.
    batch = models.ForeignKey(
        Batch, models.SET_NULL, null=True, blank=True, related_name="news"
    )

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["id"],
                condition=Q(finished_at=None, batch=None),
                name="fan_out_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.incident} {self.event}"

    @classmethod
    @transaction.atomic(savepoint=False)
    def begin(cls, incident: Incident, update: IncidentUpdate, event: str) -> None:
        """Note the news; the messages are made elsewhere, in steps.

        What the page does not show is not told by mail, either.
        """
        if not on_page(StatusPage.default()).filter(pk=incident.pk).exists():
            return
        news = FanOut(incident=incident, update=update, event=event)
        settings = Automation.current() if news.is_patient else None
        if settings and settings.group_wait and not news.bypasses(settings):
            news.batch = Batch.collecting(settings, at=timezone.now())
        elif event != cls.Event.PUBLISHED:
            # What waits of the same incident must not come after it.
            waiting = cls.objects.filter(incident=incident, batch__is_collecting=True)
            waiting.update(batch=None)
        FanOut.objects.bulk_create([news], ignore_conflicts=True)
        current_app.ring("subscriptions.tasks.fan_out_due")

    @property
    def is_patient(self) -> bool:
        """Whether Tocsin alone says so; what a person says never waits."""
        is_theirs = self.event == self.Event.PUBLISHED and self.incident.decided_by
        is_automatic = self.incident.source == Incident.Source.ALERT
        return is_automatic and self.update.is_automatic and not is_theirs

    def bypasses(self, settings: Automation) -> bool:
        is_critical = self.incident.severity == Incident.Severity.CRITICAL
        return is_critical and settings.critical_bypasses

    def maker(self) -> Callable[[Subscriber], Message] | None:
        return None if self.incident.is_withdrawn else self.message_to

    def message_to(self, subscriber: Subscriber) -> Message:
        return message(
            dedup_key=f"update:{self.update_id}:subscriber:{subscriber.pk}",
            kind="email",
            destination=subscriber.email,
            renderer="incident",
            values={
                "update": self.update_id,
                "subscriber": subscriber.pk,
                "event": self.event,
            },
            recipient_key=subscriber.key,
            topic_key=self.incident.cause,
        )


class MaintenanceNews(ToEverybody):
    """News of one date of a maintenance; each only once, by its key."""

    class Kind(models.TextChoices):
        SCHEDULED = "scheduled"
        REMINDER = "reminder"
        STARTED = "started"
        CHANGED = "changed"
        COMPLETED = "completed"
        CANCELLED = "cancelled"

    # After that an end is no news to those who never heard of a beginning.
    LATE: ClassVar = timedelta(hours=1)

    occurrence = models.ForeignKey(Occurrence, models.CASCADE, related_name="+")
    # What was said of it, if anything.
    update = models.ForeignKey(
        OccurrenceUpdate, models.CASCADE, null=True, blank=True, related_name="+"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # What makes it one of its kind: it happens once, or for each change.
    key = models.CharField(max_length=80, unique=True)

    class Meta:
        ordering = ["pk"]
        verbose_name_plural = "maintenance news"
        indexes = [
            models.Index(
                fields=["id"],
                condition=Q(finished_at=None),
                name="maintenance_news_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.occurrence} {self.kind}"

    @classmethod
    def begin(
        cls,
        kind: str,
        occurrence: Occurrence,
        update: OccurrenceUpdate | None = None,
        *,
        which: str = "",
    ) -> None:
        """Note the news; the messages are made elsewhere, in steps.

        `which` tells several of a kind apart. What the page does not show is not
        told by mail, either.
        """
        page = StatusPage.default()
        if not planned.on_page(page).filter(pk=occurrence.pk).exists():
            return
        key = ":".join(filter(None, [str(occurrence.pk), kind, which]))
        news = MaintenanceNews(occurrence=occurrence, update=update, kind=kind, key=key)
        MaintenanceNews.objects.bulk_create([news], ignore_conflicts=True)
        current_app.ring("subscriptions.tasks.fan_out_due")

    def is_of_use(self, at: datetime) -> bool:
        """Whether it still tells what is so; later news tell what has become of it."""
        occurrence = self.occurrence
        is_ahead = occurrence.state == Occurrence.State.SCHEDULED
        if self.kind == self.Kind.REMINDER:
            return is_ahead and occurrence.starts_at > at
        if self.kind == self.Kind.SCHEDULED:
            return is_ahead
        if self.kind == self.Kind.STARTED:
            return occurrence.is_open
        if self.kind == self.Kind.CHANGED:
            was_ahead = self.update and self.update.state == Occurrence.State.SCHEDULED
            return is_ahead if was_ahead else occurrence.is_open
        return self.kind != self.Kind.COMPLETED or self._tells_an_end(at)

    def _tells_an_end(self, at: datetime) -> bool:
        """After a while only to whom else was told of it, and the last end alone."""
        ended_at, late = self.occurrence.ended_at, at - self.LATE
        if ended_at is None or ended_at > late:
            return True
        later = MaintenanceNews.objects.filter(
            kind=self.Kind.COMPLETED,
            occurrence__maintenance=self.occurrence.maintenance_id,
            occurrence__ended_at__gt=ended_at,
        )
        if not _told_of([self.occurrence_id]):
            return False
        is_overtaken = later.filter(occurrence__ended_at__gt=late).exists()
        return not is_overtaken and not _told_of(
            later.values_list("occurrence", flat=True)
        )

    def maker(self) -> Callable[[Subscriber], Message] | None:
        return self.message_to if self.is_of_use(timezone.now()) else None

    def message_to(self, subscriber: Subscriber) -> Message:
        return message(
            dedup_key=f"maintenance:{self.key}:subscriber:{subscriber.pk}",
            kind="email",
            destination=subscriber.email,
            renderer="maintenance",
            values={"news": self.pk, "subscriber": subscriber.pk},
            recipient_key=subscriber.key,
            topic_key=self.occurrence.cause,
        )


def _told_of(occurrences: Iterable[int]) -> bool:
    """Whether anything but the end was sent of these dates, or is on its way."""
    sent = [Message.State.QUEUED, Message.State.DELIVERED]
    causes = [Occurrence(pk=pk).cause for pk in occurrences]
    found = Message.objects.filter(topic_key__in=causes, state__in=sent)
    return found.exclude(
        dedup_key__contains=f":{MaintenanceNews.Kind.COMPLETED}:"
    ).exists()
