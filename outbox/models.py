import random
import secrets
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from celery import current_app
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from access.encryption import EncryptedJSONField
from egress.kinds import ConfigInvalid, as_config, build, masked

from .channels import CHANNELS, Channel


def kind_choices() -> list[tuple[str, str]]:
    return [(kind, kind.capitalize()) for kind in CHANNELS]


class TriggerQuerySet(models.QuerySet["Trigger"]):
    def active(self) -> "TriggerQuerySet":
        return self.filter(is_active=True)


class Trigger(models.Model):
    """A configured destination for notices. Its secrets are encrypted at rest."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=kind_choices)
    config = EncryptedJSONField(default=dict)
    is_active = models.BooleanField(
        default=True, help_text="An inactive trigger is sent nothing."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TriggerQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Validate the config by building the channel, spelling its defaults out."""
        if self.kind not in CHANNELS:
            raise ValidationError({"kind": f"Choose one of {', '.join(CHANNELS)}."})
        try:
            self.config = as_config(self.channel)
        except ConfigInvalid as invalid:
            raise ValidationError(
                {"config": [f"{k}: {v}" for k, v in invalid.errors.items()]}
            ) from invalid
        if self.kind == "email" and not self.config["to"]:
            raise ValidationError({"config": ["to: Give at least one address."]})

    @property
    def channel(self) -> Channel:
        return build(CHANNELS[self.kind], self.config)

    @property
    def shown_config(self) -> dict[str, Any]:
        """The config as anyone may see it, secrets as ***."""
        return masked(CHANNELS.get(self.kind), self.config)


class MessageQuerySet(models.QuerySet["Message"]):
    def waiting(self) -> "MessageQuerySet":
        return self.filter(state=Message.State.QUEUED)

    def due(self, at: datetime) -> "MessageQuerySet":
        """Those to be attempted now that nobody is attempting.

        What one recipient is told about one topic stays in order: nobody hears
        that it is over, and then that it has begun.
        """
        older = Message.objects.waiting().filter(
            recipient_key=OuterRef("recipient_key"),
            topic_key=OuterRef("topic_key"),
            pk__lt=OuterRef("pk"),
        )
        return self.waiting().filter(
            Q(lease_until=None) | Q(lease_until__lte=at),
            Q(topic_key="") | ~Exists(older),
            due_at__lte=at,
        )

    def longest_wait(self, at: datetime) -> float:
        """Return the seconds for which the oldest due message has not been tried."""
        due = self.due(at).order_by("due_at", "id")
        oldest = due.values_list("due_at", flat=True).first()
        return (at - oldest).total_seconds() if oldest else 0.0

    def given_up(self) -> "MessageQuerySet":
        return self.filter(state=Message.State.FAILED)


class Message(models.Model):
    """A message that must get out; it is queue, log and idempotency key in one."""

    class State(models.TextChoices):
        QUEUED = "QUEUED", "Waiting"
        DELIVERED = "DELIVERED", "Delivered"
        FAILED = "FAILED", "Given up"
        CANCELLED = "CANCELLED", "Cancelled"

    MOST_ATTEMPTS: ClassVar = 10
    # Full jitter on 5 s, 10 s, 20 s … up to an hour: ten attempts take some two
    # hours on average, and a hundred messages do not come back as one.
    FIRST_WAIT: ClassVar = 5.0
    LONGEST_WAIT: ClassVar = 3600.0

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # What this message is about and for whom, so that it is made only once.
    dedup_key = models.CharField(max_length=150, unique=True)
    kind = models.CharField(max_length=20, choices=kind_choices)
    trigger = models.ForeignKey(Trigger, models.SET_NULL, null=True, blank=True)
    destination = models.CharField(max_length=320, blank=True)
    # Which registered renderer makes the content, and from which values.
    renderer = models.CharField(max_length=50)
    values = models.JSONField(default=dict)
    # Opaque here: by them their owner can withdraw what is still queued.
    recipient_key = models.CharField(max_length=100, blank=True)
    topic_key = models.CharField(max_length=100, blank=True)
    # Messages of one lane wait for each other, those of others do not.
    lane = models.CharField(max_length=50)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    lease_until = models.DateTimeField(null=True, blank=True)
    claim = models.BigIntegerField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_answer = models.CharField(max_length=600, blank=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # Whole, not partial: SQLite takes no partial index for a state that
            # is a parameter.
            models.Index(fields=["state", "due_at", "id"], name="message_due"),
            models.Index(fields=["topic_key"], name="message_topic"),
            models.Index(
                fields=["recipient_key", "topic_key", "state", "id"],
                name="message_recipient",
            ),
            models.Index(fields=["finished_at"], name="message_finished"),
            models.Index(fields=["state", "-id"], name="message_state"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    # Factories

    @classmethod
    def queue(cls, messages: Iterable["Message"]) -> None:
        """Store messages; one whose dedup_key exists is already on its way."""
        messages = list(messages)
        for message in messages:
            message.lane = f"{message.kind}:{message.trigger_id or ''}"
        cls.objects.bulk_create(messages, ignore_conflicts=True, batch_size=500)
        if messages:
            _ring()

    @classmethod
    def hasten(cls, *, topic_key: str, at: datetime) -> None:
        """Let first attempts about a topic begin at once."""
        waiting = cls.objects.waiting().filter(topic_key=topic_key, attempts=0)
        if waiting.filter(due_at__gt=at).update(due_at=at):
            _ring()

    @classmethod
    def claim_due(
        cls, *, at: datetime, limit: int, full_lanes: Iterable[str], a_lane: int
    ) -> list["Message"]:
        """Take due messages for one attempt, so many of a lane at the most.

        The lease is there before anything is sent: a crash in the middle of a
        delivery leads to another attempt with the same key, never to silence.
        """
        # Mostly there is nothing, and to ask just that costs a third.
        if not cls.objects.waiting().filter(due_at__lte=at).exists():
            return []
        due = cls.objects.due(at).exclude(lane__in=list(full_lanes))
        counts: dict[str, int] = {}
        wanted: list[int] = []
        for pk, lane in due.order_by("due_at", "id").values_list("pk", "lane")[:2000]:
            if counts.setdefault(lane, 0) < a_lane and len(wanted) < limit:
                counts[lane] += 1
                wanted.append(pk)
        if not wanted:
            return []
        claim = secrets.randbits(62)
        lease = timedelta(seconds=settings.DELIVERY_LEASE_SECONDS)
        still_due = cls.objects.due(at).filter(pk__in=wanted)
        if connection.features.has_select_for_update_skip_locked:
            still_due = still_due.select_for_update(skip_locked=True)
        with transaction.atomic():
            cls.objects.filter(pk__in=still_due.values("pk")).update(
                claim=claim, lease_until=at + lease, attempts=F("attempts") + 1
            )
        # A config that cannot be decrypted fails its own message, later, and
        # not the whole batch.
        taken = cls.objects.filter(pk__in=wanted, claim=claim).order_by("pk")
        return list(taken.select_related("trigger").defer("trigger__config"))

    # Transitions. Each asks for the claim: a worker that was slower than its
    # lease must not overwrite what another one has found since.

    def delivered(self, answer: str, *, at: datetime) -> bool:
        return self._finish(self.State.DELIVERED, answer, at)

    def cancelled(self, answer: str, *, at: datetime) -> bool:
        return self._finish(self.State.CANCELLED, answer, at)

    def failed(
        self,
        answer: str,
        *,
        at: datetime,
        final: bool = False,
        retry_after: float | None = None,
    ) -> bool:
        """Note a failed attempt; give up after the last one, or when it is final."""
        if final or self.attempts >= self.MOST_ATTEMPTS:
            return self._finish(self.State.FAILED, answer, at)
        wait = max(self.wait(self.attempts), min(retry_after or 0, self.LONGEST_WAIT))
        return self._settle(answer, due_at=at + timedelta(seconds=wait))

    def _finish(self, state: str, answer: str, at: datetime) -> bool:
        return self._settle(answer, state=state, finished_at=at)

    def _settle(self, answer: str, **changes: Any) -> bool:
        return bool(
            Message.objects.waiting()
            .filter(pk=self.pk, claim=self.claim)
            .update(claim=None, lease_until=None, last_answer=answer[:600], **changes)
        )

    @classmethod
    def wait(cls, attempts: int) -> float:
        """Return the seconds until the next attempt: exponential, with full jitter."""
        most = min(cls.LONGEST_WAIT, cls.FIRST_WAIT * 2 ** (attempts - 1))
        return random.uniform(0.5 * most, most)

    def replay(self, *, at: datetime) -> bool:
        """Send once more what was given up, cancelled or delivered; the key stays."""
        changed = (
            Message.objects.filter(pk=self.pk)
            .exclude(state=self.State.QUEUED)
            .update(
                state=self.State.QUEUED,
                due_at=at,
                attempts=0,
                finished_at=None,
                claim=None,
                lease_until=None,
            )
        )
        if changed:
            _ring()
        return bool(changed)


class Attempt(models.Model):
    """One try at delivering a message, and what the other side answered."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    is_success = models.BooleanField()
    answer = models.CharField(max_length=600, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.number}: {self.answer}"


def _ring() -> None:
    current_app.ring("outbox.tasks.deliver_due")


def forget(recipient_keys: Iterable[str]) -> None:
    """Take the addresses of recipients out of all messages and their log."""
    messages = Message.objects.filter(recipient_key__in=list(recipient_keys))
    Attempt.objects.filter(message__in=messages).update(answer="")
    messages.update(destination="", last_answer="")


def cancel(*, reason: str, **keys: Any) -> int:
    """Withdraw what is still queued for a recipient_key or about a topic_key."""
    return (
        Message.objects.waiting()
        .filter(**keys)
        .update(
            state=Message.State.CANCELLED,
            finished_at=timezone.now(),
            last_answer=reason,
            claim=None,
            lease_until=None,
        )
    )


def message(
    *, dedup_key: str, kind: str, renderer: str, values: Mapping[str, Any], **more: Any
) -> Message:
    """Return an unsaved message for `Message.queue`."""
    return Message(
        dedup_key=dedup_key, kind=kind, renderer=renderer, values=dict(values), **more
    )
