from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import Incident, State
from monitors.models import MonitorState, StatusPeriod
from statuspages import snapshot
from statuspages.models import StatusPage


@pytest.fixture
def page(db):
    page = StatusPage.default()
    page.title = "Example status"
    page.save()
    return page


@pytest.fixture
def show(page):
    """Return the page at the root as built now."""

    def show():
        return bytes(snapshot.build(page).body).decode()

    return show


@pytest.fixture
def stand(db):
    """Let a monitor have had a status for a time."""

    def stand(monitor, status, *, lasting=timedelta(minutes=30)):
        since = timezone.now() - lasting
        unseen = StatusPeriod.objects.filter(monitor=monitor, status="no_data")
        unseen.filter(started_at__gt=since).update(started_at=since)
        StatusPeriod.change(monitor.pk, status, at=since)
        MonitorState.objects.filter(pk=monitor.pk).update(
            status=status, since=since, checked_at=timezone.now()
        )

    return stand


@pytest.fixture
def make_incident(db):
    def make(*monitors, title="Orders fail", body="We look.", back=30, **more):
        began = timezone.now() - timedelta(minutes=back)
        level = more.pop("level", "DOWN")
        more.setdefault("source", "DASHBOARD")
        return Incident.open(
            title=title,
            summary=body,
            started_at=began,
            at=began,
            impacts=dict.fromkeys(monitors, level),
            **more,
        )

    return make


@pytest.fixture
def resolve(db):
    def resolve(incident, body="It is over.", *, back=0):
        at = timezone.now() - timedelta(minutes=back)
        incident.update(state=State.RESOLVED, body=body, at=at)
        return incident

    return resolve
