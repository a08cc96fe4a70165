"""Delivers what is due, many at a time, no slow destination holding up another."""

import json
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, quote_plus, urlsplit

from django.conf import settings
from django.db import close_old_connections, transaction
from django.utils import timezone

from access.pool import give_back
from egress.client import Request
from egress.kinds import MASK, build, secret_names
from egress.masking import mask_headers, mask_text

from .channels import CHANNELS, Answer, Channel, Content, DeliveryFailed, Envelope
from .models import Attempt, Circuit, Message, Trigger
from .rendering import Withdrawn, load, render

logger = logging.getLogger(__name__)

THREADS: Final = 48
A_LANE: Final = 4
# So many threads a lane leaves to others before it takes one more than its first.
LEFT_BY_QUICK: Final = 8
LEFT_BY_SLOW: Final = 16
# In seconds: a lane whose attempts take longer is slow, and one whose attempts
# are quicker than QUICK has messages claimed ahead, AHEAD of them at the most.
SLOW: Final = 1.0
QUICK: Final = 0.25
AHEAD: Final = 96
# How long what has come of an attempt waits for more to be noted with it, seconds.
GATHER: Final = 0.03
# What was claimed longer ago, in seconds, is looked at again before it is sent.
FRESH: Final = 1.0
# Characters of a request's body that the log keeps.
LOGGED_BODY: Final = 2048


# One attempt


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of an attempt; nothing of it is written down yet."""

    message: Message
    kind: Literal["delivered", "failed", "cancelled", "given back"]
    answer: str
    started_at: datetime
    ended_at: datetime
    reference: str = ""
    final: bool = False
    retry_after: float | None = None
    # Whether the destination fails, and whether it has said anything fit to be
    # an answer. If neither, the attempt has told nothing about it.
    unwell: bool = False
    answered: bool = False
    request: dict[str, Any] = field(default_factory=dict)


class Built(NamedTuple):
    """A trigger's channel, and everything in it that nobody may see."""

    sealed: str
    kind: str
    channel: Channel
    secrets: tuple[str, ...] = ()


class _Refused(Exception):
    """The delivery failed; `request` is what was asked, for the log."""

    def __init__(self, failure: DeliveryFailed, request: dict[str, Any]) -> None:
        super().__init__(str(failure))
        self.failure, self.request = failure, request


def deliver(message: Message) -> Outcome:
    """Attempt a claimed message once; `settle` notes what came of it."""
    started = timezone.now()

    def outcome(kind: Any, answer: str, **more: Any) -> Outcome:
        return Outcome(
            message=message,
            kind=kind,
            # PostgreSQL keeps no NUL, and a receiver may answer anything.
            answer=hidden(answer.replace("\x00", ""), _known_secrets(message))[:600],
            started_at=started,
            ended_at=timezone.now(),
            **more,
        )

    if message.counted > Message.MOST_ATTEMPTS:
        return outcome("failed", "The worker died at every attempt.", final=True)
    try:
        if not _may_still_go(message, started):
            return outcome("given back", "")
        answer, request = _hand_over(message)
    except Withdrawn as reason:
        return outcome("cancelled", str(reason))
    except _Refused as refused:
        why = refused.failure
        return outcome(
            "failed",
            str(why),
            final=why.final,
            retry_after=why.retry_after,
            unwell=why.unwell,
            answered=why.final or (why.asked is not None and not why.unwell),
            request=refused.request,
        )
    except Exception as error:
        # A bug in a template must not lose the message: it waits for the mend.
        logger.exception("Message %s could not be made", message.key)
        return outcome("failed", f"Tocsin itself failed: {error!r}")
    reference = answer.reference.replace("\x00", "")[:500]
    return outcome(
        "delivered", answer.text, reference=reference, answered=True, request=request
    )


def _may_still_go(message: Message, at: datetime) -> bool:
    """Look again at what was claimed a while ago: things may have changed since."""
    lease = timedelta(seconds=settings.DELIVERY_LEASE_SECONDS)
    age = at - message.lease_until + lease if message.lease_until else timedelta()
    if message.trigger_id is None or age < timedelta(seconds=FRESH):
        return age < lease / 4
    again = Trigger.objects.sealed().select_related("circuit")
    message.trigger = again.filter(pk=message.trigger_id).first()
    circuit = message.trigger.breaker if message.trigger else None
    is_held = circuit and circuit.resumes_at and circuit.resumes_at > at
    is_probe = circuit and circuit.probe == message.claim
    return age < lease / 4 and (not is_held or bool(is_probe))


def _hand_over(message: Message) -> tuple[Answer, dict[str, Any]]:
    """Render and deliver; hold no connection of the pool while others think."""
    built = _built(message)
    envelope = Envelope(
        key=str(message.key),
        destination=message.destination,
        created_at=message.created_at,
        attempted_at=timezone.now(),
        topic=message.topic_key,
        thread=message.thread() if built.channel.has_threads else "",
    )
    content = render(message)
    give_back()
    try:
        answer = built.channel.deliver(content, envelope)
    except DeliveryFailed as failure:
        shown = shown_request(built, content, envelope, failure.asked)
        raise _Refused(failure, shown) from failure
    return answer, shown_request(built, content, envelope, answer.asked)


# Channels, built once for each version of their trigger

_channels: dict[int, Built] = {}


def _built(message: Message) -> Built:
    trigger = message.trigger
    if trigger is None:
        if not message.destination:
            raise Withdrawn("The trigger was deleted.")
        return Built("", message.kind, CHANNELS[message.kind]())
    if not trigger.is_active:
        raise Withdrawn(f"The trigger {trigger} is switched off.")
    known = _channels.get(trigger.pk)
    # What is encrypted anew reads differently, even if it says the same.
    if known and (known.sealed, known.kind) == (trigger.sealed_config, trigger.kind):
        return known
    config = Trigger._meta.get_field("config").from_db_value(trigger.sealed_config)
    channel = build(CHANNELS[trigger.kind], config)
    built = Built(trigger.sealed_config, trigger.kind, channel, _all_secrets(channel))
    _channels[trigger.pk] = built
    return built


def _known_secrets(message: Message) -> tuple[str, ...]:
    built = _channels.get(message.trigger_id or 0)
    return built.secrets if built else ()


def _all_secrets(channel: Channel) -> tuple[str, ...]:
    """The secrets of a channel in every form that may be met, the longest first."""
    found: set[str] = set()
    for name in secret_names(type(channel)):
        value = getattr(channel, name)
        texts = value.values() if isinstance(value, dict) else [value]
        found.update(str(text) for text in texts if text)
    # Such as the token in "Bearer token".
    found |= {part for text in found for part in text.split() if len(part) > 7}
    forms = {
        form
        for text in found
        for form in (text, json.dumps(text)[1:-1], quote(text, ""), quote_plus(text))
    }
    return tuple(sorted(forms, key=len, reverse=True))


# What the log keeps of a request


def shown_request(
    built: Built, content: Content, envelope: Envelope, asked: Request | None
) -> dict[str, Any]:
    """Return what was asked as anyone may see it; of a mail, whom and what about."""
    if asked is None:
        to = envelope.destination or built.channel.destination()
        return _storable({"to": to, "subject": " ".join(content.subject.split())[:250]})
    headers = mask_headers(asked.headers)
    # Some are longer when they are masked, or begin within what is kept.
    body = asked.body[: 2 * LOGGED_BODY].decode("utf-8", "replace")
    body = mask_text(hidden(body, built.secrets)[: LOGGED_BODY + 256])
    return _storable(
        {
            "method": asked.method,
            "url": _shown_url(asked.url, built.secrets),
            "headers": {n: hidden(v, built.secrets) for n, v in headers.items()},
            "body": body[:LOGGED_BODY],
        }
    )


def _shown_url(url: str, secrets: Collection[str]) -> str:
    """Keep only the host of an address that is a secret itself, or made of one."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if any(secret.startswith(("http://", "https://")) for secret in secrets):
        return f"{place}/{MASK}"
    rest = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return mask_text(hidden(place + rest, secrets))


def hidden(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _storable(request: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _storable(value)
        if isinstance(value, dict)
        else str(value).replace("\x00", "")
        for name, value in request.items()
    }


# Writing down what came of attempts


def settle(outcomes: Sequence[Outcome]) -> None:
    """Note what came of attempts, all of it in one transaction.

    If that fails, each is noted by itself. What cannot be noted is attempted
    again when its lease has run out, under the same key.
    """
    try:
        with transaction.atomic():
            _settle(outcomes)
    except Exception:
        if len(outcomes) == 1:
            raise
        logger.exception("Deliveries could not be noted at once")
        for one in outcomes:
            _settle_alone(one)


def _settle_alone(one: Outcome) -> None:
    try:
        with transaction.atomic():
            _settle([one])
    except Exception:
        logger.exception("Message %s could not be noted", one.message.key)


def _settle(outcomes: Sequence[Outcome]) -> None:
    held = Message.still_held([one.message for one in outcomes])
    mine = [one for one in outcomes if one.message.pk in held]
    delivered: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    answered: set[int] = set()
    for one in mine:
        trigger = one.message.trigger_id
        if one.kind == "delivered":
            delivered[one.answer, one.reference].append(one)
        if trigger and one.answered:
            answered.add(trigger)
        elif trigger and one.unwell and trigger in answered:
            # In the order in which things happened, for each trigger.
            Circuit.answered([trigger], at=one.ended_at)
            answered.discard(trigger)
        if one.kind != "delivered":
            _settle_other(one)
    for (answer, reference), some in delivered.items():
        at, messages = max(one.ended_at for one in some), [one.message for one in some]
        Message.all_delivered(messages, answer, reference, at=at)
    if answered:
        Circuit.answered(answered, at=timezone.now())
    Attempt.objects.bulk_create(
        _logged(one) for one in mine if one.kind in ("delivered", "failed")
    )


def _settle_other(one: Outcome) -> None:
    """Note what was not delivered."""
    message, at, trigger = one.message, one.ended_at, one.message.trigger_id
    if one.kind == "given back":
        Message.give_back([message])
        return
    verdict = None
    if trigger and one.unwell:
        verdict = Circuit.failed(
            trigger, one.answer, claim=message.claim, at=at, wait=one.retry_after or 0
        )
    elif trigger and not one.answered:
        Circuit.untried(trigger, claim=message.claim, at=at)
    if one.kind == "cancelled":
        message.cancelled(one.answer, at=at)
    else:
        message.failed(
            one.answer,
            at=at,
            final=one.final,
            retry_after=one.retry_after,
            circuit=verdict,
        )


def _logged(one: Outcome) -> Attempt:
    return Attempt(
        message=one.message,
        number=one.message.attempts,
        started_at=one.started_at,
        finished_at=one.ended_at,
        is_success=one.kind == "delivered",
        answer=one.answer,
        request=one.request,
    )


# Many at a time


class Lane:
    """What one process has in hand for one trigger, or for all without a trigger."""

    def __init__(self) -> None:
        self.claimed: deque[Message] = deque()
        # When the attempts that are going on began, by the number of their thread.
        self.begun: dict[int, float] = {}
        self.threads = 0
        # Seconds that the latest attempt took; None before one has succeeded.
        self.took: float | None = None

    @property
    def is_quick(self) -> bool:
        return self.took is not None and self.took < QUICK and not self._hangs()

    @property
    def is_slow(self) -> bool:
        return (self.took is not None and self.took > SLOW) or self._hangs()

    def _hangs(self) -> bool:
        oldest = min(self.begun.values(), default=None)
        return oldest is not None and time.monotonic() - oldest > SLOW

    def leaves(self, threads: int) -> int:
        """How many threads it leaves to others when it has so many and wants one."""
        if not threads:
            return LEFT_BY_QUICK if self.is_slow else 0
        is_proven = self.took is not None and not self.is_slow
        return LEFT_BY_QUICK if is_proven else LEFT_BY_SLOW

    def more_threads(self, free: int) -> int:
        """How many threads it may begin, if so many are free."""
        more = 0
        while self.threads + more < A_LANE:
            if free - more <= self.leaves(self.threads + more):
                break
            more += 1
        return more


class Courier:
    """The delivery threads of one process.

    Each lane has a few threads at the most, and what is slow leaves some to the
    others. One more thread writes down what came of it and looks for more.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="courier")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="settler")
        self._lanes: defaultdict[int | None, Lane] = defaultdict(Lane)
        self._threads = 0
        self._in_hand = 0
        self._outcomes: list[Outcome] = []
        self._will_write = False
        self._looking = threading.Lock()
        self._changed = threading.Condition()

    def look(self) -> int:
        """Take what is due and can be attempted now; return how many."""
        taken = 0
        with self._looking:
            at = timezone.now()
            for due in Message.lanes_due(at):
                key = due.pk if due else None
                if most := self._room(key):
                    claimed = Message.claim_lane(due, at=at, most=most)
                    _load(claimed)
                    self._take(key, claimed)
                    taken += len(claimed)
        return taken

    def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is being delivered; False if time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_hand, seconds)

    # What the looking thread does

    def _room(self, key: int | None) -> int:
        """How many messages of a lane may be claimed."""
        with self._changed:
            lane = self._lanes[key]
            more = lane.more_threads(THREADS - self._threads)
            if not lane.is_quick:
                return max(0, more - len(lane.claimed))
            # In handfuls: to claim costs the same for one and for all.
            is_low = len(lane.claimed) <= AHEAD // 2
            return AHEAD - len(lane.claimed) if is_low and lane.threads + more else 0

    def _take(self, key: int | None, claimed: list[Message]) -> None:
        with self._changed:
            self._lanes[key].claimed.extend(claimed)
            self._in_hand += len(claimed)
            self._begin_threads(key)

    def _begin_threads(self, key: int | None) -> None:
        """Give a lane the threads that it may have and has messages for."""
        lane = self._lanes[key]
        more = lane.more_threads(THREADS - self._threads)
        for _ in range(min(more, len(lane.claimed))):
            lane.threads += 1
            self._threads += 1
            self._pool.submit(self._work, key)

    # What the delivering threads do

    def _work(self, key: int | None) -> None:
        """Deliver for a lane as long as it has something and may have this thread."""
        try:
            while (message := self._next(key)) is not None:
                self._attempt(key, message)
        finally:
            close_old_connections()

    def _next(self, key: int | None) -> Message | None:
        """Return what this thread is to deliver; None ends it."""
        with self._changed:
            lane = self._lanes[key]
            free = THREADS - self._threads
            may_stay = free >= lane.leaves(lane.threads - 1)
            if lane.claimed and may_stay:
                lane.begun[threading.get_ident()] = time.monotonic()
                return lane.claimed.popleft()
            lane.threads -= 1
            self._threads -= 1
            for other, one in self._lanes.items():
                if one.claimed:
                    self._begin_threads(other)
            return None

    def _attempt(self, key: int | None, message: Message) -> None:
        outcome: Outcome | None = None
        try:
            outcome = deliver(message)
        except Exception:
            logger.exception("Message %s could not be attempted", message.key)
        with self._changed:
            lane = self._lanes[key]
            took = time.monotonic() - lane.begun.pop(threading.get_ident())
            lane.took = took if outcome and outcome.kind == "delivered" else None
            if outcome is None:
                self._in_hand -= 1
            else:
                self._outcomes.append(outcome)
            if lane.took is None:
                self._put_back(lane)
            self._write_soon()

    def _put_back(self, lane: Lane) -> None:
        """Claim nothing ahead for what may fail: its circuit is to decide."""
        now = timezone.now()
        while lane.claimed:
            message = lane.claimed.popleft()
            self._outcomes.append(
                Outcome(
                    message=message,
                    kind="given back",
                    answer="",
                    started_at=now,
                    ended_at=now,
                )
            )

    # What the writing thread does

    def _write_soon(self) -> None:
        if self._outcomes and not self._will_write:
            self._will_write = True
            self._writer.submit(self._write)
        self._changed.notify_all()

    def _write(self) -> None:
        """Note what came of attempts, then look for more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._threads, GATHER)
            outcomes, self._outcomes = self._outcomes, []
            self._will_write = False
        try:
            settle(outcomes)
        except Exception:
            logger.exception("What came of %s deliveries is not noted", len(outcomes))
        try:
            self.look()
        except Exception:
            logger.exception("Looking for messages failed")
        finally:
            close_old_connections()
            self._noted(len(outcomes))

    def _noted(self, n: int) -> None:
        with self._changed:
            self._in_hand -= n
            self._changed.notify_all()


def _load(claimed: list[Message]) -> None:
    """Read ahead; whoever cannot be read for reads for itself, and fails alone."""
    try:
        load(claimed)
    except Exception:
        logger.exception("%s messages could not be read for", len(claimed))


_courier: Courier | None = None
_making = threading.Lock()


def courier() -> Courier:
    """The courier of this process, made at first use."""
    global _courier
    with _making:
        if _courier is None:
            _courier = Courier()
        return _courier
