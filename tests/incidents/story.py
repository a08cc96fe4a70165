"""Moments of the tests, and what alerting does at them, without its evaluation."""

from datetime import timedelta

from django.utils import timezone

from alerting.models import Alert
from incidents.receivers import close_incident, open_incident

# Tomorrow: nothing in these tests happens because time passes.
NOW = (timezone.now() + timedelta(days=1)).replace(microsecond=0)


def minutes(number):
    return NOW + timedelta(minutes=number)


def announce(alert):
    """Tell of a triggered alert, as the announcer does."""
    open_incident(alert=alert, transition=alert.transitions.get(to="TRIGGERED"))


def end(alert, at, reason="2 successes in a row", is_evaluated=True):
    """Resolve an alert and return its transition."""
    Alert.objects.filter(pk=alert.pk).update(state="RESOLVED", resolved_at=at)
    alert.refresh_from_db()
    return alert.transitions.create(
        to="RESOLVED", reason=reason, at=at, is_evaluated=is_evaluated
    )


def recover(alert, at):
    """Resolve an alert and tell of it."""
    close_incident(alert=alert, transition=end(alert, at))
