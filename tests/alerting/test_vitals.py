from datetime import timedelta

import pytest
from django.utils import timezone

from alerting.models import Transition


@pytest.fixture
def transition(make_monitor, make_rule, triggered):
    monitor = make_monitor()
    return triggered(make_rule(monitor), monitor).transitions.get()


def test_longest_wait_is_since_the_transition_was_due(transition):
    at = timezone.now()
    Transition.objects.update(due_at=at - timedelta(seconds=42))

    assert Transition.objects.longest_wait(at) == 42.0


def test_transition_that_fails_has_waited_since_it_happened(transition):
    transition.postpone(RuntimeError("no"), at=timezone.now())

    waited = Transition.objects.longest_wait(transition.at + timedelta(minutes=9))

    assert waited == 540.0


def test_announced_transition_does_not_wait(transition):
    at = timezone.now() + timedelta(minutes=9)
    assert Transition.objects.longest_wait(at) > 500

    Transition.objects.update(announced_at=timezone.now())

    assert Transition.objects.longest_wait(at) == 0.0
