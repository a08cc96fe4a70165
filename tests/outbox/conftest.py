import pytest
from django.utils import timezone

from outbox import delivery, rendering
from outbox.channels import Content
from outbox.models import Message, message


@pytest.fixture
def _say_hello():
    rendering.register(
        "hello", lambda m: Content(subject="Hi", text="Hello", values=m.values)
    )


@pytest.fixture
def queue(db, _say_hello):
    """Queue so many messages to a trigger, one after the other."""

    def queue(trigger, number=1, **more):
        first = Message.objects.count()
        Message.queue(
            message(
                dedup_key=f"hello:{first + n}",
                renderer="hello",
                kind=trigger.kind,
                values={"n": first + n},
                trigger=trigger,
                **more,
            )
            for n in range(number)
        )

    return queue


@pytest.fixture
def attempt(db):
    """Attempt once whatever is due now, one after the other; return how many."""

    def attempt(at=None, a_lane=50):
        taken = Message.claim_due(at=at or timezone.now(), a_lane=a_lane)
        for row in taken:
            delivery.settle([delivery.deliver(row)])
        return len(taken)

    return attempt
