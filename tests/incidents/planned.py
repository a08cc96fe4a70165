"""Maintenances of the tests, and who hears of them."""

from datetime import UTC, datetime, timedelta

from incidents import signals
from incidents.models import Maintenance, Occurrence

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HEARD = ("scheduled", "reminded", "started", "changed", "completed", "cancelled")


def minutes(number):
    return NOW + timedelta(minutes=number)


def plan(impacts=None, at=NOW, **facts):
    """Schedule a maintenance, in an hour and for an hour unless it is said."""
    facts.setdefault("title", "Database upgrade")
    facts.setdefault("description", "Writes pause.")
    if "rrule" not in facts:
        facts.setdefault("starts_at", at + timedelta(hours=1))
        facts.setdefault("ends_at", facts["starts_at"] + timedelta(hours=1))
    maintenance = Maintenance(**facts)
    maintenance.full_clean()
    return maintenance.schedule(at=at, impacts=impacts)


def plan_one(**facts):
    return Occurrence.objects.get(maintenance=plan(**facts))


def hear():
    """Return what was sent from now on, and how to stop listening."""
    names, kept = [], []
    for name in HEARD:

        def receive(name=name, **kwargs):
            names.append(name)

        signal = getattr(signals, f"maintenance_{name}")
        signal.connect(receive)
        kept.append((signal, receive))

    def stop():
        for signal, receive in kept:
            signal.disconnect(receive)

    return names, stop
