"""Tries a trigger out: a test goes through its channel itself, past the queue."""

import logging
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from access.pool import give_back
from egress.kinds import secrets_of
from egress.masking import mask_text

from . import rendering
from .channels import Answer, Channel, Content, DeliveryFailed, Envelope
from .models import Trigger

logger = logging.getLogger(__name__)


class Step(NamedTuple):
    """One message of a test, such as TRIGGERED, and what became of it."""

    what: str
    delivered: bool
    answer: str


def send_test(trigger: Trigger, *, at: datetime) -> list[Step]:
    """Send all that a test consists of; the first that fails is the last."""
    try:
        channel = trigger.channel
    except Exception as error:
        return [Step("Config", False, f"Its config does not fit: {error}")]
    contents = rendering.tests()
    give_back()
    return list(_steps(channel, contents, at))


def _steps(
    channel: Channel, contents: list[tuple[str, Content]], at: datetime
) -> Iterator[Step]:
    """Say one thing after the other, in one thread where the channel has threads."""
    topic, thread = f"test:{uuid.uuid4()}", ""
    for what, content in contents:
        envelope = Envelope(
            key=str(uuid.uuid4()),
            destination="",
            created_at=at,
            attempted_at=at,
            topic=topic,
            thread=thread,
        )
        taken, said = _say(channel, content, envelope)
        yield Step(what, taken is not None, mask_text(said, secrets_of(channel)))
        if taken is None:
            return
        thread = thread or taken.reference


def _say(
    channel: Channel, content: Content, envelope: Envelope
) -> tuple[Answer | None, str]:
    try:
        answer = channel.deliver(content, envelope)
    except DeliveryFailed as failure:
        return None, str(failure)
    except Exception as error:  # a channel's bug is an answer, too
        logger.exception("A test by %s could not be sent", channel.label)
        return None, f"Tocsin itself failed: {error!r}"
    return answer, answer.text
