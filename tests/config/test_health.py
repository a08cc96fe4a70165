import json
import threading
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from config import health
from monitors.models import Pulse


@pytest.fixture
def doorbell(settings, tmp_path):
    settings.REDIS_URL = ""
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(tmp_path)}
    return tmp_path


def ask():
    answer = Client().get("/readyz")
    return answer.status_code, json.loads(answer.content)


def test_healthz_lives_without_a_database(client):
    # No database is allowed in this test.
    answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok")
    assert "no-store" in answer.headers["Cache-Control"]


def test_neither_takes_orders(client):
    assert client.post("/healthz").status_code == 405
    assert client.post("/readyz").status_code == 405


def test_ready_while_the_tick_is_young(transactional_db, doorbell):
    Pulse.note("tick", at=timezone.now() - timedelta(seconds=9))

    assert ask() == (
        200,
        {
            "status": "ready",
            "checks": {"database": "ok", "broker": "ok", "tick": "ok"},
            "reasons": [],
        },
    )


def test_not_ready_when_the_tick_is_old(transactional_db, doorbell):
    Pulse.note("tick", at=timezone.now() - timedelta(seconds=42))

    code, answer = ask()

    assert code == 503
    assert answer["checks"] == {"database": "ok", "broker": "ok", "tick": "failed"}
    assert answer["reasons"] == ["The last tick was 42 seconds ago."]


def test_not_ready_before_the_first_tick(transactional_db, doorbell):
    code, answer = ask()

    assert code == 503
    assert answer["reasons"] == ["No worker has ticked yet."]


def test_not_ready_without_a_broker(transactional_db, doorbell):
    Pulse.note("tick", at=timezone.now())
    doorbell.rmdir()

    code, answer = ask()

    assert code == 503
    assert answer["reasons"] == ["The broker's folder cannot be written to."]


def test_reasons_name_no_host(transactional_db, doorbell, monkeypatch):
    def fail():
        raise OSError("connection to db.internal refused for user root")

    Pulse.note("tick", at=timezone.now())
    monkeypatch.setitem(health.CHECKS, "database", fail)

    code, answer = ask()

    assert code == 503
    assert answer["reasons"] == ["The database does not answer."]


def test_a_check_that_hangs_is_not_waited_for(transactional_db, doorbell, monkeypatch):
    hang = threading.Event()
    Pulse.note("tick", at=timezone.now())
    monkeypatch.setattr(health, "SECONDS", 0.2)
    monkeypatch.setitem(health.CHECKS, "broker", lambda: hang.wait(10))
    started = timezone.now()

    code, answer = ask()
    hang.set()

    assert code == 503
    assert answer["reasons"] == ["The broker did not answer within 0.2 seconds."]
    assert timezone.now() - started < timedelta(seconds=3)
