import io

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.utils import timezone

from alerting.models import AlertRule
from config import starter
from monitors.models import Monitor
from statuspages.models import StatusPage


@pytest.fixture
def prepare(db, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    settings.DEBUG = True  # nothing is collected

    def prepare():
        out = io.StringIO()
        call_command("prepare", stdout=out)
        return out.getvalue()

    return prepare


def test_first_admin_is_told_once_and_may_enter(prepare):
    said = prepare()
    password = said.rpartition("password")[2].strip()

    assert len(password) == 23
    assert authenticate(username="admin", password=password).is_superuser
    assert prepare() == ""


def test_no_admin_is_made_beside_another(prepare, operator):
    assert prepare() == ""
    assert get_user_model().objects.count() == 1


def test_first_admin_takes_nobodys_name(db):
    get_user_model().objects.create_user("admin")

    name, _ = starter.make_first_admin()

    assert name.startswith("admin-")


def test_empty_installation_watches_itself(prepare, settings):
    prepare()
    prepare()

    page, engine = Monitor.objects.order_by("pk")
    assert (page.tag, page.kind) == ("tocsin", "http")
    assert page.config["url"] == f"http://{settings.HOST}:{settings.PORT}/healthz"
    assert (engine.tag, engine.kind) == ("tocsin-engine", "tocsin")
    assert engine.config["lateness_p95_ms"] == 1000.0
    for rule, monitor in zip(
        AlertRule.objects.order_by("pk"), [page, engine], strict=True
    ):
        assert list(rule.monitors.all()) == [monitor]
        assert (rule.alert_for, rule.alert_value) == ("STATUS", "DOWN")
        assert not rule.create_incident
    assert StatusPage.objects.get().is_default


def test_installation_whose_monitors_were_retired_is_left_alone(prepare, make_monitor):
    make_monitor("shop").retire(at=timezone.now())

    prepare()

    assert not Monitor.objects.current().exists()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("web", "http://web:8000"),
    ],
)
def test_own_address(settings, host, address):
    settings.HOST, settings.PORT = host, 8000

    assert starter.own_address() == address


def test_static_files_are_collected_once(db, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    call_command("prepare", "--static")
    (tmp_path / "static" / "admin" / "css" / "base.css").unlink()

    call_command("prepare", "--static")
    assert not (tmp_path / "static" / "admin" / "css" / "base.css").exists()

    (tmp_path / "static" / ".collected").write_text("another version")
    call_command("prepare", "--static")
    assert (tmp_path / "static" / "admin" / "css" / "base.css").exists()
