from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from monitors.instants import whole
from monitors.models import Correction, StatusPeriod

AT = datetime(2024, 11, 20, 14, 2, 3, 457_000, tzinfo=UTC)


@pytest.fixture
def staff(client):
    """Log in as somebody who holds these permissions alone."""

    def log_in(*codenames):
        user = get_user_model().objects.create_user("bo", password="x", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def was():
    """Write the shown statuses of a monitor, each for so many minutes until now."""

    def write(monitor, *lengths, until=None):
        until = until or whole(timezone.now())
        monitor.periods.all().delete()
        at = until - timedelta(minutes=sum(minutes for _, minutes in lengths))
        for n, (status, minutes) in enumerate(lengths):
            end = at + timedelta(minutes=minutes)
            is_last = n == len(lengths) - 1
            StatusPeriod.objects.create(
                monitor=monitor,
                status=status,
                started_at=at,
                ended_at=None if is_last else end,
                cause="" if status == "up" else f"why it was {status}",
            )
            at = end

    return write


@pytest.fixture
def correct():
    def make(monitor, status="up", at=AT, minutes=5, **more):
        more.setdefault("reason", "The firewall was ours")
        more.setdefault("author", "ana")
        end = at + timedelta(minutes=minutes)
        return Correction.objects.create(
            monitor=monitor, status=status, started_at=at, ended_at=end, **more
        )

    return make
