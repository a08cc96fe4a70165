import secrets
import threading
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import Client
from django.utils import timezone
from hypothesis import settings as hypothesis
from rest_framework.test import APIClient

from access.models import ApiKey
from alerting import evaluation, rules
from alerting.models import Alert, AlertRule
from incidents import tasks as incident_tasks
from incidents.models import severity_labels
from monitors import engine as engines
from monitors.models import Monitor, MonitorState
from outbox import delivery
from outbox.models import Trigger
from statuspages import snapshot
from subscriptions.tasks import fan_out_due

from .servers import MailServer, WebServer


def pytest_addoption(parser):
    words = "leave out what touches no database, brings its own, or is about looks"
    parser.addoption("--on-database", action="store_true", help=words)


def pytest_collection_modifyitems(config, items):
    """Begin with what waits longest; on a second database leave out what can be."""
    patient = ("soak", "own_database")
    items.sort(key=lambda item: not any(map(item.get_closest_marker, patient)))
    if config.getoption("--on-database"):
        leave_out(config, items)


def leave_out(config, items):
    """A second database shows nothing new about what does not touch it."""
    databases = {"db", "transactional_db", "live_server"}
    left_out = [
        item
        for item in items
        if any(map(item.get_closest_marker, ("own_database", "looks")))
        or not (
            item.get_closest_marker("django_db") or databases & {*item.fixturenames}
        )
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


# No test depends on how fast the machine is.
hypothesis.register_profile("tocsin", deadline=None)
hypothesis.load_profile("tocsin")


@pytest.fixture
def shop():
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def receiver():
    """A webhook receiver."""
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def mailbox(settings):
    """A mail server that all mail of the test goes to."""
    server = MailServer()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    yield server
    server.close()


@pytest.fixture
def operator(db):
    return get_user_model().objects.create_superuser("ana", "ana@example.org", "pass")


@pytest.fixture
def admin(operator):
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture
def api(db):
    """A client of the API whose key has all scopes."""
    key = ApiKey(name="tests").issue()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client


@pytest.fixture(autouse=True)
def _fresh_names():
    """What one test called the severities is nothing to the next one."""
    severity_labels.forget()


@pytest.fixture(autouse=True)
def _restless(monkeypatch):
    """A page rests after it took long to build, which here says how fast we are."""
    monkeypatch.setattr(snapshot, "LONG_SECONDS", float("inf"))


@pytest.fixture
def own_cache(settings):
    """A cache with nothing in it, which tests that run beside share with nobody."""
    own = {**settings.CACHES["default"], "KEY_PREFIX": secrets.token_hex(4)}
    settings.CACHES = {"default": own}


@pytest.fixture
def clockwork(transactional_db):
    """The whole of Tocsin, moved by hand: `run_checks`, `deliver`, `settle`."""
    moved = Clockwork()
    yield moved
    moved.engine.stop()


def run_at_once(*functions):
    """Run functions on threads of their own, started together; raise what they raise."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function):
        try:
            barrier.wait(10)
            function()
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if errors:
        raise errors[0]


@pytest.fixture
def at_once():
    return run_at_once


class Clockwork:
    """Does what the workers do, at once and on this process's own threads."""

    def __init__(self):
        self.engine = engines.Engine()

    def run_checks(self):
        """Check every active monitor once, now, as its next due check."""
        now = timezone.now()
        MonitorState.objects.exclude(due_at=None).update(due_at=now)
        soon = now + timedelta(seconds=1)
        claims = MonitorState.claim_due(at=now, until=soon, limit=10_000)
        self.engine.submit(claims)
        assert self.engine.wait_idle(20)

    def settle(self):
        """Do everything that follows until there is nothing left to do."""
        evaluation.sweep()
        incident_tasks.sweep.run()
        incident_tasks.tell_updates.run()
        fan_out_due.run()
        snapshot.build_due()
        self.deliver()

    def deliver(self):
        courier = delivery.courier()
        while courier.look():
            assert courier.wait_idle(20)
        assert courier.wait_idle(20)


@pytest.fixture
def make_monitor(db):
    def make(tag="shop", url="http://127.0.0.1:9/", **more):
        more.setdefault("name", tag.capitalize())
        more.setdefault("interval", 5)
        config = more.pop("config", {"url": url})
        monitor = Monitor(tag=tag, config=config, **more)
        monitor.full_clean()
        monitor.save()
        return monitor

    return make


@pytest.fixture
def make_rule(db):
    def make(*monitors, triggers=(), **more):
        more.setdefault("name", "Down for three checks")
        more.setdefault("create_incident", True)
        rule = AlertRule(**more)
        rule.full_clean()
        rule.save()
        rule.watch(list(monitors))
        rule.triggers.set(triggers)
        return rule

    return make


@pytest.fixture
def make_trigger(db):
    def make(kind="webhook", name="", **config):
        trigger = Trigger(name=name or kind, kind=kind, config=config)
        trigger.full_clean()
        trigger.save()
        return trigger

    return make


@pytest.fixture
def triggered(db):
    """Make the triggered alert of a rule on a monitor, as its evaluation would."""

    def trigger(rule, monitor):
        at = timezone.now()
        result = rules.Result(id=1, at=at, status="down", error="Connection refused")
        change = rules.Change("TRIGGERED", result, at, "3 failures in a row", "down")
        return Alert.trigger(rule, monitor, change)

    return trigger
