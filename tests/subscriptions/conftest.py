import pytest
from django.utils import timezone

from subscriptions.models import Subscriber


@pytest.fixture(autouse=True)
def _forgetful(own_cache):
    """What one test asked for does not count against the next one."""


@pytest.fixture
def reader(db):
    return Subscriber.add("reader@example.org", at=timezone.now())


@pytest.fixture
def asked(db):
    """Somebody who has not confirmed."""
    return Subscriber.ask("new@example.org", at=timezone.now())
