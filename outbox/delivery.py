"""Delivers what is due, many at a time, no slow destination holding up another."""

import logging
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from access.pool import give_back

from .channels import CHANNELS, Channel, Content, DeliveryFailed, Envelope
from .models import Attempt, Message, Trigger
from .rendering import Withdrawn, render

logger = logging.getLogger(__name__)

THREADS: Final = 16
A_LANE: Final = 4


class Courier:
    """The delivery threads of one process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="courier")
        self._lanes: Counter[str] = Counter()
        self._looking = threading.Lock()
        self._changed = threading.Condition()

    def look(self) -> int:
        """Take what is due and can be attempted now; return how many."""
        with self._looking:
            with self._changed:
                room = THREADS - self._lanes.total()
                full = [lane for lane, n in self._lanes.items() if n >= A_LANE]
            if room <= 0:
                return 0
            taken = Message.claim_due(
                at=timezone.now(), limit=room, full_lanes=full, a_lane=A_LANE
            )
            with self._changed:
                self._lanes.update(message.lane for message in taken)
        for message in taken:
            self._pool.submit(self._work, message)
        return len(taken)

    def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is being delivered; False if time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lanes.total(), seconds)

    def _work(self, message: Message) -> None:
        try:
            deliver(message)
        except Exception:
            logger.exception("Message %s could not be attempted", message.key)
        finally:
            close_old_connections()
            with self._changed:
                self._lanes[message.lane] -= 1
                self._changed.notify_all()
        try:
            self.look()
        except Exception:
            logger.exception("Looking for messages failed")
        finally:
            close_old_connections()


def deliver(message: Message) -> None:
    """Attempt a claimed message once and note what came of it."""
    started = timezone.now()
    if message.attempts > Message.MOST_ATTEMPTS:
        message.failed("The worker died at every attempt.", at=started, final=True)
        return
    try:
        answer = _hand_over(message)
    except Withdrawn as reason:
        message.cancelled(str(reason), at=timezone.now())
        return
    except DeliveryFailed as failure:
        answer, succeeded = str(failure).replace("\x00", ""), False
        settled = message.failed(
            answer,
            at=timezone.now(),
            final=failure.final,
            retry_after=failure.retry_after,
        )
    except Exception as error:
        # A bug in a template must not lose the message: it waits for the mend.
        logger.exception("Message %s could not be made", message.key)
        answer, succeeded = f"Tocsin itself failed: {error!r}", False
        settled = message.failed(answer, at=timezone.now())
    else:
        settled, succeeded = message.delivered(answer, at=timezone.now()), True
    if settled:
        Attempt.objects.create(
            message=message,
            number=message.attempts,
            started_at=started,
            finished_at=timezone.now(),
            is_success=succeeded,
            answer=answer[:600],
        )


def _hand_over(message: Message) -> str:
    """Render and deliver; hold no connection of the pool while others think."""
    channel = _channel(message)
    envelope = Envelope(
        key=str(message.key),
        destination=message.destination,
        created_at=message.created_at,
        attempted_at=timezone.now(),
    )
    content = render(message)
    give_back()
    # PostgreSQL keeps no NUL, and a receiver may answer anything.
    return channel.deliver(content, envelope).replace("\x00", "")


def _channel(message: Message) -> Channel:
    if message.trigger:
        if not message.trigger.is_active:
            raise Withdrawn(f"The trigger {message.trigger} is switched off.")
        return message.trigger.channel
    if message.destination:
        return CHANNELS[message.kind]()
    raise Withdrawn("The trigger was deleted.")


def send_test(trigger: Trigger, *, at: datetime) -> tuple[bool, str]:
    """Send a test past the queue; return whether it was taken, and the answer."""
    text = f"This is a test of the trigger {trigger.name}. Nothing is wrong."
    content = Content(
        subject=f"Test of {trigger.name} from Tocsin",
        text=text,
        values={
            "type": "test",
            "timestamp": at.isoformat().replace("+00:00", "Z"),
            "text": text,
            "trigger": {"id": trigger.pk, "name": trigger.name},
            "site": {"url": settings.TOCSIN_URL},
        },
    )
    envelope = Envelope(
        key=str(uuid.uuid4()), destination="", created_at=at, attempted_at=at
    )
    try:
        channel = trigger.channel
        give_back()
        return True, channel.deliver(content, envelope)
    except DeliveryFailed as failure:
        return False, str(failure)
    except Exception as error:  # a channel's bug is an answer, too
        logger.exception("The test of trigger %s could not be sent", trigger.pk)
        return False, f"Tocsin itself failed: {error!r}"


_courier: Courier | None = None
_making = threading.Lock()


def courier() -> Courier:
    """The courier of this process, made at first use."""
    global _courier
    with _making:
        if _courier is None:
            _courier = Courier()
        return _courier
