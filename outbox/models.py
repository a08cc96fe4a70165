import random
import secrets
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from celery import current_app
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from access.encryption import EncryptedJSONField
from egress.kinds import ConfigInvalid, as_config, build, masked

from .channels import CHANNELS, Channel


def kind_choices() -> list[tuple[str, str]]:
    return [(kind, channel.label) for kind, channel in CHANNELS.items()]


class TriggerQuerySet(models.QuerySet["Trigger"]):
    def active(self) -> "TriggerQuerySet":
        return self.filter(is_active=True)

    def sealed(self) -> "TriggerQuerySet":
        """Their configs as the database holds them, to be opened only when needed."""
        sealed = Cast("config", models.TextField())
        return self.defer("config").annotate(sealed_config=sealed)

    def with_due(self, at: datetime) -> "TriggerQuerySet":
        """Those for which something is due that may be attempted, oldest first.

        One look into an index for each trigger, however many messages wait.
        """
        mine = Message.objects.waiting().filter(trigger=OuterRef("pk"))
        idle = mine.filter(Q(lease_until=None) | Q(lease_until__lte=at))
        first = idle.order_by("due_at", "id").values("due_at")[:1]
        # What is switched off is not attempted either: it is cancelled.
        may = Q(circuit__resumes_at=None) | Q(circuit__resumes_at__lte=at)
        return (
            self.sealed()
            .annotate(first_due=Subquery(first))
            .filter(may | Q(is_active=False), first_due__lte=at)
            .select_related("circuit")
            .order_by("first_due", "pk")
        )


class Trigger(models.Model):
    """A configured destination for notices. Its secrets are encrypted at rest."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=kind_choices)
    config = EncryptedJSONField(default=dict)
    is_active = models.BooleanField(
        default=True, help_text="An inactive trigger is sent nothing."
    )
    most_a_minute = models.PositiveIntegerField(
        "at most … a minute",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(60_000)],
        help_text="Messages; what is over it waits. Empty for no limit.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TriggerQuerySet.as_manager()

    # Only where a queryset has asked for it.
    sealed_config: str

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; whoever mended a trigger that fails wants to see at once if it works."""
        is_new = self._state.adding
        super().save(*args, **kwargs)
        if not is_new:
            Circuit.try_now([self.pk], at=timezone.now())

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

    @property
    def breaker(self) -> "Circuit | None":
        """What keeps its messages back; mostly there is no such row."""
        return getattr(self, "circuit", None)


class CircuitQuerySet(models.QuerySet["Circuit"]):
    def open(self) -> "CircuitQuerySet":
        """Those of triggers in use that do not answer."""
        return self.filter(pause__gt=0, trigger__is_active=True)


class Circuit(models.Model):
    """What keeps the messages to one trigger back, for all workers.

    It is closed while the trigger answers. After MOST_FAILURES in a row that are
    about the destination it opens: messages wait, and one of them is tried after
    a pause, which doubles. An answer closes it. Apart from that it holds what
    Retry-After asked for, and how far the trigger's own limit is used up.
    """

    class State(models.TextChoices):
        CLOSED = "closed", "Answers"
        OPEN = "open", "Fails"
        PROBING = "probing", "Is being tried"

    class Verdict(NamedTuple):
        """Whether the circuit was open already, and whether it is now."""

        excused: bool = False
        is_open: bool = False

    MOST_FAILURES: ClassVar = 5
    # Seconds.
    FIRST_PAUSE: ClassVar = 30
    LONGEST_PAUSE: ClassVar = 600
    # What nobody has taken for so long is news to nobody.
    GIVE_UP_AFTER: ClassVar = timedelta(days=3)

    trigger = models.OneToOneField(
        Trigger, models.CASCADE, primary_key=True, related_name="circuit"
    )
    failures = models.PositiveIntegerField(default=0)
    # The first failure of those in a row.
    since = models.DateTimeField(null=True, blank=True)
    # In seconds; 0 while the circuit is closed.
    pause = models.PositiveIntegerField(default=0)
    # Before this nothing is attempted, whatever is due.
    resumes_at = models.DateTimeField(null=True, blank=True)
    # The claim of the one message that is being tried.
    probe = models.BigIntegerField(null=True, blank=True)
    # The limit: when all that was attempted would have been, one by one.
    spent_until = models.DateTimeField(null=True, blank=True)
    last_answer = models.CharField(max_length=600, blank=True)

    objects = CircuitQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.trigger_id}: {self.state_at(timezone.now())}"

    # What may be attempted

    @property
    def is_open(self) -> bool:
        return self.pause > 0

    def state_at(self, at: datetime) -> "Circuit.State":
        if not self.is_open:
            return self.State.CLOSED
        is_tried = self.probe is not None and self.resumes_at and self.resumes_at > at
        return self.State.PROBING if is_tried else self.State.OPEN

    def allowance(self, a_minute: int | None, at: datetime) -> int | None:
        """How many messages may be attempted now; None for any number."""
        if self.resumes_at and self.resumes_at > at:
            return 0
        limited = _Limit(a_minute).room(self.spent_until, at) if a_minute else None
        if self.is_open:
            return 1 if limited is None else min(1, limited)
        return limited

    def admit(
        self, n: int, a_minute: int | None, claim: int, *, at: datetime, until: datetime
    ) -> bool:
        """Book what is about to be attempted; False if another worker was faster."""
        changes: dict[str, Any] = {}
        if a_minute:
            changes["spent_until"] = _Limit(a_minute).spend(self.spent_until, n, at)
        if self.is_open:
            changes |= {"probe": claim, "resumes_at": until}
        if not changes:
            return True
        same = Circuit.objects.filter(
            pk=self.pk,
            pause=self.pause,
            resumes_at=self.resumes_at,
            spent_until=self.spent_until,
        )
        return bool(same.update(**changes))

    # Transitions

    @classmethod
    def answered(cls, triggers: Collection[int], *, at: datetime) -> None:
        """Note that these answer, whatever they said; what waits for them is due."""
        failing = cls.objects.filter(pk__in=triggers, failures__gt=0)
        if not (pauses := dict(failing.values_list("pk", "pause"))):
            return
        failing.filter(pause=0).update(failures=0, since=None)
        failing.filter(pause__gt=0).update(
            failures=0, since=None, pause=0, resumes_at=None, probe=None
        )
        Message.release(pk for pk, pause in pauses.items() if pause)

    @classmethod
    def failed(
        cls,
        trigger: int,
        answer: str,
        *,
        claim: int | None,
        at: datetime,
        wait: float = 0.0,
    ) -> "Circuit.Verdict":
        """Note a failure of the destination; return what it means for the message.

        `wait` is what Retry-After asked for, in seconds.
        """
        mine = cls.objects.filter(pk=trigger)
        answer = answer[:600]
        counted = {
            "failures": F("failures") + 1,
            "since": Coalesce("since", Value(at, models.DateTimeField())),
            "last_answer": answer,
        }
        closed = mine.filter(pause=0)
        # Not "is there none": another worker may have made the row just now.
        if not closed.update(**counted) and not mine.filter(pause__gt=0).exists():
            if not Trigger.objects.filter(pk=trigger).exists():
                return cls.Verdict()
            cls.objects.get_or_create(trigger_id=trigger)
            closed.update(**counted)
        pause = timedelta(seconds=cls.FIRST_PAUSE)
        opened = closed.filter(failures__gte=cls.MOST_FAILURES).update(
            pause=cls.FIRST_PAUSE, resumes_at=at + pause, probe=None
        )
        if opened:
            Message.release([trigger])
        was_open = not opened and mine.filter(pause__gt=0).exists()
        if was_open:
            cls._probed(trigger, answer, claim=claim, at=at)
        if wait:
            longest = min(wait, Message.LONGEST_WAIT)
            cls._hold(trigger, at + timedelta(seconds=longest), answer)
        return cls.Verdict(excused=was_open, is_open=was_open or bool(opened))

    @classmethod
    def _probed(
        cls, trigger: int, answer: str, *, claim: int | None, at: datetime
    ) -> None:
        """Wait twice as long for the next one, and give up what is past all use."""
        mine = cls.objects.filter(pk=trigger, probe=claim, pause__gt=0)
        if claim is None or not (pause := mine.values_list("pause", flat=True).first()):
            return
        longer = min(2 * pause, cls.LONGEST_PAUSE)
        mine.update(
            pause=longer,
            probe=None,
            resumes_at=at + timedelta(seconds=longer),
            last_answer=answer,
        )
        Message.give_up_on(trigger, claim, before=at - cls.GIVE_UP_AFTER, at=at)

    @classmethod
    def _hold(cls, trigger: int, until: datetime, answer: str) -> None:
        sooner = Q(resumes_at=None) | Q(resumes_at__lt=until)
        cls.objects.filter(sooner, pk=trigger).update(
            resumes_at=until, last_answer=answer
        )

    @classmethod
    def untried(cls, trigger: int, *, claim: int | None, at: datetime) -> None:
        """Take back a probe that has told nothing: another message may be tried."""
        if claim is not None:
            mine = cls.objects.filter(pk=trigger, probe=claim)
            mine.update(probe=None, resumes_at=at)

    @classmethod
    def try_now(cls, triggers: Iterable[int], *, at: datetime) -> int:
        """Let what waits be tried at once; one that is being tried is left alone."""
        waiting = cls.objects.filter(
            pk__in=list(triggers), probe=None, resumes_at__gt=at
        )
        changed = waiting.update(resumes_at=at)
        if changed:
            _ring()
        return changed


class _Limit:
    """So many a minute at the most: a bucket that fills evenly.

    It holds what two seconds' looking needs, and fills so much slower that no
    minute, wherever it begins, sees more than the limit.
    """

    def __init__(self, a_minute: int) -> None:
        self.burst = max(1, a_minute // 30)
        self.each = timedelta(seconds=60 / (a_minute - self.burst + 1))

    def room(self, spent_until: datetime | None, at: datetime) -> int:
        """How many may go now."""
        ahead = max(timedelta(), spent_until - at) if spent_until else timedelta()
        return max(0, (self.burst * self.each - ahead) // self.each)

    def spend(self, spent_until: datetime | None, n: int, at: datetime) -> datetime:
        return max(spent_until or at, at) + n * self.each


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

    def unheld(self, at: datetime) -> "MessageQuerySet":
        """Those whose trigger may be asked now."""
        may = Q(trigger__circuit__resumes_at=None) | Q(
            trigger__circuit__resumes_at__lte=at
        )
        spent = Q(trigger__circuit__spent_until__gt=at)
        return self.filter(may & ~spent)

    def longest_wait(self, at: datetime) -> float:
        """Return the seconds for which the oldest due message has not been tried.

        What waits for a destination that fails, or for its limit, is not late.
        """
        due = self.due(at).unheld(at).order_by("due_at", "id")
        oldest = due.values_list("due_at", flat=True).first()
        return (at - oldest).total_seconds() if oldest else 0.0

    def given_up(self) -> "MessageQuerySet":
        """Those that nobody has dismissed."""
        return self.filter(state=Message.State.FAILED, dismissed_at=None)

    def dismiss(self, *, at: datetime) -> int:
        """Say that these, of those given up, need nobody any more."""
        return self.given_up().order_by().update(dismissed_at=at)

    def replay(self, *, at: datetime, most: int = 10_000) -> int:
        """Send these once more under their keys, `most` of them; return how many.

        Those that wait already are left as they are.
        """
        settled = self.exclude(state=Message.State.QUEUED).order_by("pk")
        done = last = 0
        while done < most:
            chunk = settled.filter(pk__gt=last).values_list("pk", flat=True)
            pks = list(chunk[: min(REPLAYED_AT_ONCE, most - done)])
            if not pks:
                break
            last = pks[-1]
            done += Message.objects.filter(pk__in=pks)._queue_again(at)
        if done:
            _ring()
        return done

    def _queue_again(self, at: datetime) -> int:
        return self.exclude(state=Message.State.QUEUED).update(
            state=Message.State.QUEUED,
            due_at=at,
            attempts=0,
            excused=0,
            finished_at=None,
            dismissed_at=None,
            claim=None,
            lease_until=None,
        )


REPLAYED_AT_ONCE = 1000


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
    # The index `message_lane` begins with it.
    trigger = models.ForeignKey(
        Trigger, models.SET_NULL, null=True, blank=True, db_index=False
    )
    destination = models.CharField(max_length=320, blank=True)
    # Which registered renderer makes the content, and from which values.
    renderer = models.CharField(max_length=50)
    values = models.JSONField(default=dict)
    # Opaque here: by them their owner can withdraw what is still queued.
    recipient_key = models.CharField(max_length=100, blank=True)
    topic_key = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    lease_until = models.DateTimeField(null=True, blank=True)
    claim = models.BigIntegerField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    # Attempts that do not count: the destination was known to fail.
    excused = models.PositiveIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_answer = models.CharField(max_length=600, blank=True)
    # What the other side calls it: what else is said of its topic goes there.
    reference = models.CharField(max_length=500, blank=True)
    # Given up, and somebody has said that this is all right.
    dismissed_at = models.DateTimeField(null=True, blank=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # Whole, not partial: SQLite takes no partial index for a state that
            # is a parameter.
            models.Index(fields=["state", "due_at", "id"], name="message_due"),
            # Those of one trigger, or of none, wait for each other only.
            models.Index(
                fields=["trigger", "state", "due_at", "id"], name="message_lane"
            ),
            models.Index(
                fields=["topic_key", "trigger", "state", "id"], name="message_topic"
            ),
            models.Index(
                fields=["recipient_key", "topic_key", "state", "id"],
                name="message_recipient",
            ),
            models.Index(fields=["finished_at"], name="message_finished"),
            models.Index(fields=["state", "-id"], name="message_state"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    def thread(self) -> str:
        """What the other side calls the first message about this topic."""
        if not self.topic_key:
            return ""
        told: dict[str, Any] = {"trigger": self.trigger_id}
        if self.trigger_id is None:
            told["recipient_key"] = self.recipient_key
        same = Message.objects.filter(
            topic_key=self.topic_key, state=self.State.DELIVERED, **told
        )
        known = same.exclude(reference="").order_by("pk")
        return known.values_list("reference", flat=True).first() or ""

    # Factories

    @classmethod
    def queue(cls, messages: Iterable["Message"]) -> None:
        """Store messages; one whose dedup_key exists is already on its way."""
        messages = list(messages)
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
    def lanes_due(cls, at: datetime) -> Iterator[Trigger | None]:
        """Triggers that something is due for, and None for what needs no trigger."""
        # Mostly there is nothing, and to ask just that costs a third.
        due = cls.objects.waiting().filter(due_at__lte=at)
        if not due.exists():
            return
        if due.filter(trigger=None).exists():
            yield None
        yield from Trigger.objects.with_due(at)

    @classmethod
    def claim_lane(
        cls, lane: Trigger | None, *, at: datetime, most: int
    ) -> list["Message"]:
        """Take due messages of a trigger for one attempt each, the oldest first.

        The lease is there before anything is sent: a crash in the middle of a
        delivery leads to another attempt with the same key, never to silence.
        """
        circuit, limit = _circuit_of(lane)
        if circuit and (allowed := circuit.allowance(limit, at)) is not None:
            most = min(most, allowed)
        if most <= 0:
            return []
        claim = secrets.randbits(62)
        until = at + timedelta(seconds=settings.DELIVERY_LEASE_SECONDS)
        with transaction.atomic():
            taken = cls._take(lane, claim, at=at, until=until, most=most)
            if taken and circuit:
                n = len(taken)
                if not circuit.admit(n, limit, claim, at=at, until=until):
                    transaction.set_rollback(True)
                    return []
        return taken

    @classmethod
    def _take(
        cls,
        lane: Trigger | None,
        claim: int,
        *,
        at: datetime,
        until: datetime,
        most: int,
    ) -> list["Message"]:
        due = cls.objects.due(at).filter(trigger=lane).order_by("due_at", "id")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True, of=("self",))
        taken = list(due[:most])
        cls.objects.filter(pk__in=[m.pk for m in taken]).update(
            claim=claim, lease_until=until, attempts=F("attempts") + 1
        )
        for message in taken:
            message.claim, message.lease_until = claim, until
            message.attempts += 1
            message.trigger = lane
        return taken

    @classmethod
    def claim_due(cls, *, at: datetime, a_lane: int) -> list["Message"]:
        """Take what is due, so many of a lane at the most."""
        lanes = list(cls.lanes_due(at))
        return [m for lane in lanes for m in cls.claim_lane(lane, at=at, most=a_lane)]

    @classmethod
    def give_back(cls, messages: Iterable["Message"]) -> None:
        """Let others attempt what was claimed and not attempted."""
        for message in messages:
            message._settle(attempts=F("attempts") - 1)
            if message.trigger_id:
                now = timezone.now()
                Circuit.untried(message.trigger_id, claim=message.claim, at=now)

    # Transitions. Each asks for the claim: a worker that was slower than its
    # lease must not overwrite what another one has found since.

    @classmethod
    def still_held(cls, messages: Collection["Message"]) -> set[int]:
        """Lock those that are still whose claim they carry; return their keys."""
        claims = {m.claim for m in messages}
        held = cls.objects.waiting().filter(pk__in=[m.pk for m in messages])
        if connection.features.has_select_for_update:
            held = held.select_for_update(of=("self",))
        found = held.filter(claim__in=claims).order_by("pk").values_list("pk", "claim")
        mine = {(m.pk, m.claim) for m in messages}
        return {pk for pk, claim in found if (pk, claim) in mine}

    @classmethod
    def all_delivered(
        cls, held: Collection["Message"], answer: str, reference: str, *, at: datetime
    ) -> None:
        """Note that these, which are held, were all taken with the same words."""
        cls.objects.filter(pk__in=[m.pk for m in held]).update(
            state=cls.State.DELIVERED,
            finished_at=at,
            last_answer=answer[:600],
            reference=reference[:500],
            claim=None,
            lease_until=None,
        )

    def delivered(self, answer: str, *, at: datetime, reference: str = "") -> bool:
        return self._finish(self.State.DELIVERED, answer, at, reference=reference[:500])

    def cancelled(self, answer: str, *, at: datetime) -> bool:
        return self._finish(self.State.CANCELLED, answer, at)

    def failed(
        self,
        answer: str,
        *,
        at: datetime,
        final: bool = False,
        retry_after: float | None = None,
        circuit: Circuit.Verdict | None = None,
    ) -> bool:
        """Note a failed attempt; give up after the last one, or when it is final.

        One that was made while the circuit was open does not count. As long as
        that is open it says when the next one is, and the message stays due.
        """
        if circuit and circuit.excused and not final:
            return self._settle(last_answer=answer[:600], excused=F("excused") + 1)
        if final or self.counted >= self.MOST_ATTEMPTS:
            return self._finish(self.State.FAILED, answer, at)
        wait = max(self.wait(self.counted), min(retry_after or 0, self.LONGEST_WAIT))
        due = at + timedelta(seconds=0 if circuit and circuit.is_open else wait)
        return self._settle(last_answer=answer[:600], due_at=due)

    @property
    def counted(self) -> int:
        """How many attempts count towards giving up."""
        return self.attempts - self.excused

    def _finish(self, state: str, answer: str, at: datetime, **changes: Any) -> bool:
        return self._settle(
            state=state, finished_at=at, last_answer=answer[:600], **changes
        )

    def _settle(self, **changes: Any) -> bool:
        return bool(
            Message.objects.waiting()
            .filter(pk=self.pk, claim=self.claim)
            .update(claim=None, lease_until=None, **changes)
        )

    @classmethod
    def release(cls, triggers: Iterable[int]) -> None:
        """Make due what waits to be tried again: its trigger decides when."""
        now = timezone.now()
        waiting = cls.objects.waiting().filter(trigger__in=list(triggers))
        waiting.filter(due_at__gt=now, attempts__gt=0).update(due_at=now)

    @classmethod
    def give_up_on(
        cls, trigger: int, claim: int, *, before: datetime, at: datetime
    ) -> int:
        """Give up what has been due for a trigger since before that moment.

        That is also what was claimed just now, to be tried for the others.
        """
        old = cls.objects.waiting().filter(trigger=trigger, due_at__lt=before)
        idle = Q(lease_until=None) | Q(lease_until__lte=at) | Q(claim=claim)
        return old.filter(idle).update(
            state=cls.State.FAILED,
            finished_at=at,
            claim=None,
            lease_until=None,
            last_answer=Case(
                When(last_answer="", then=Value("Its trigger failed all the time.")),
                default="last_answer",
            ),
        )

    @classmethod
    def wait(cls, attempts: int) -> float:
        """Return the seconds until the next attempt: exponential, with full jitter."""
        most = min(cls.LONGEST_WAIT, cls.FIRST_WAIT * 2 ** (attempts - 1))
        return random.uniform(0.5 * most, most)

    def replay(self, *, at: datetime) -> bool:
        """Send once more what was given up, cancelled or delivered; the key stays."""
        return bool(Message.objects.filter(pk=self.pk).replay(at=at))


class Attempt(models.Model):
    """One try at delivering a message, and what the other side answered."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    is_success = models.BooleanField()
    answer = models.CharField(max_length=600, blank=True)
    # What was asked, secrets as ***: method, url, headers and the first 2 KiB of
    # the body; of a mail whom it went to, and its subject.
    request = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.number}: {self.answer}"


def _circuit_of(lane: Trigger | None) -> tuple[Circuit | None, int | None]:
    """What keeps the messages of a lane back, and how many a minute may go."""
    if lane is None or not lane.is_active:
        return None, None
    if lane.most_a_minute and lane.breaker is None:
        lane.circuit, _ = Circuit.objects.get_or_create(trigger=lane)
    return lane.breaker, lane.most_a_minute


def _ring() -> None:
    current_app.ring("outbox.tasks.deliver_due")


def forget(recipient_keys: Iterable[str]) -> None:
    """Take the addresses of recipients out of all messages and their log."""
    messages = Message.objects.filter(recipient_key__in=list(recipient_keys))
    Attempt.objects.filter(message__in=messages).update(answer="", request={})
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
