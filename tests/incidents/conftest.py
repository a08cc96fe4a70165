from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey
from alerting.models import Alert
from incidents.models import Automation, Incident
from incidents.signals import (
    incident_deleted,
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_updated,
)

from .story import NOW


@pytest.fixture
def heard():
    """The names of the incident signals in the order they were sent."""
    names, receivers = [], []
    for name, signal in {
        "published": incident_published,
        "updated": incident_updated,
        "resolved": incident_resolved,
        "reopened": incident_reopened,
        "deleted": incident_deleted,
    }.items():

        def receive(name=name, **kwargs):
            names.append(name)

        signal.connect(receive)
        receivers.append((signal, receive))
    yield names
    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.fixture
def set_up(db):
    """Change the settings of automatic incidents."""

    def set_up(**changes):
        tell = changes.pop("tell", [])
        settings = Automation.current()
        for name, value in changes.items():
            setattr(settings, name, value)
        settings.save()
        settings.tell.set(tell)
        return settings

    return set_up


@pytest.fixture
def make_alert(make_monitor, make_rule):
    """Make a triggered alert, two minutes after its monitor began to fail."""

    def make(monitor=None, rule=None, began_at=NOW, kind="", **more):
        monitor = monitor or make_monitor()
        rule = rule or make_rule(monitor, **more)
        alert = Alert.objects.create(
            rule=rule,
            monitor=monitor,
            began_at=began_at,
            triggered_at=began_at + timedelta(minutes=2),
            rule_name=rule.name,
            monitor_name=monitor.name,
            monitor_tag=monitor.tag,
            monitor_kind=kind or monitor.kind,
            alert_for=rule.alert_for,
            alert_value=rule.alert_value,
            failure_threshold=rule.failure_threshold,
            success_threshold=rule.success_threshold,
            severity=rule.severity,
            description=rule.description,
            create_incident=rule.create_incident,
            observed="down",
            error="Connection refused",
        )
        alert.transitions.create(
            to="TRIGGERED", reason="3 failures in a row", at=alert.triggered_at
        )
        return alert

    return make


@pytest.fixture
def django_permission(db):
    return lambda codename: Permission.objects.get(codename=codename)


@pytest.fixture
def reader(db):
    """A client whose key may only read incidents."""
    client = APIClient()
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client


@pytest.fixture
def open_incident(db):
    """Open an incident that began ten minutes ago."""

    def open_incident(title="Slow", **more):
        began = timezone.now() - timedelta(minutes=10)
        told = {"summary": "We look.", "started_at": began, "source": "DASHBOARD"}
        return Incident.open(title=title, at=timezone.now(), **told | more)

    return open_incident


@pytest.fixture
def group(db):
    return Group.objects.create(name="Security")
