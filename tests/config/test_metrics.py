from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from access.models import ApiKey
from monitors import vitals
from monitors.instants import whole
from monitors.models import CheckResult, EngineMinute, MonitorState, Overlay
from monitors.models.result import packed
from monitors.sketches import Sketch

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PHASES = {"dns": 2.0, "connect": 10.0, "tls": 20.0, "first_byte": 15.0}


@pytest.fixture
def scraper(db):
    """A client whose key may read metrics and nothing else."""
    key = ApiKey(name="prometheus", scopes=["metrics:read"]).issue()
    return Client(headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def scrape(scraper):
    """Return what is read as {name: {labels: value}}."""

    def scrape():
        answer = scraper.get("/metrics", headers={"Accept": "text/plain"})
        assert answer.status_code == 200
        found = {}
        for family in parse_text(answer.content.decode()):
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    return scrape


@pytest.fixture
def checked(make_monitor):
    """Make a monitor whose newest check has found this."""

    def checked(tag, status="up", latency=50.0, phases=PHASES, **more):
        state = more.pop("state", {})
        monitor = make_monitor(tag, **more)
        at = whole(timezone.now())
        for position, age in ((1, 60), (2, 0)):
            CheckResult.objects.create(
                monitor=monitor,
                checked_at=at - timedelta(seconds=age),
                status=status,
                latency_ms=latency if not age else 9999.0,
                packed_phases=packed(phases if not age else {"dns": 999.0}),
                position=position,
            )
        MonitorState.objects.filter(pk=monitor.pk).update(
            **{
                "status": status,
                "raw_status": status,
                "checked_at": at,
                "latency_ms": latency,
                "fresh_until": at + timedelta(minutes=5),
                "last_result": 2,
                "due_at": None,
                **state,
            }
        )
        return monitor

    return checked


def of(tag, name="", **more):
    labels = {"tag": tag, "name": name or tag.capitalize(), "kind": "http", **more}
    return frozenset(labels.items())


def by_status(found):
    return {dict(k)["status"]: v for k, v in found["tocsin_monitors"].items() if v}


# Who may read


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer toc_12345678_x"}, 401)],
)
def test_metrics_need_a_key(db, client, headers, status):
    answer = client.get("/metrics", headers=headers)

    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"] == 'Bearer realm="tocsin"'


def test_key_needs_the_scope(db, client):
    key = ApiKey(name="other", scopes=["monitors:write"]).issue()

    answer = client.get("/metrics", headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 403
    assert answer.json()["detail"] == "This key lacks the scope metrics:read."


def test_scope_opens_nothing_else(scraper):
    assert scraper.get("/api/v1/monitors/").status_code == 403


def test_metrics_take_no_orders(scraper):
    assert scraper.post("/metrics").status_code == 405


# In which format


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=9é", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;q=0.1,text/plain", "text/plain; version=0.0.4"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/json", "text/plain; version=0.0.4"),
    ],
)
def test_format_is_what_is_asked_for(scraper, checked, accept, kind):
    checked("shop")

    answer = scraper.get("/metrics", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(kind)
    assert answer["Cache-Control"].startswith("max-age=0")
    text = answer.content.decode()
    is_open = kind.startswith("application")
    assert text.endswith("# EOF\n") is is_open
    families = {f.name for f in (parse_openmetrics if is_open else parse_text)(text)}
    assert {"probe_success", "tocsin_checks", "tocsin_monitors"} <= families


# What the monitors say


def test_newest_check_speaks_as_with_blackbox_exporter(scrape, checked):
    checked("shop")

    found = scrape()

    assert found["probe_success"] == {of("shop"): 1.0}
    assert found["probe_duration_seconds"] == {of("shop"): 0.05}
    assert found["probe_dns_lookup_time_seconds"] == {of("shop"): 0.002}
    assert found["probe_http_duration_seconds"] == {
        of("shop", phase="resolve"): 0.002,
        of("shop", phase="connect"): 0.01,
        of("shop", phase="tls"): 0.02,
        of("shop", phase="processing"): 0.015,
        of("shop", phase="transfer"): 0.003,
    }


@pytest.mark.parametrize(
    ("status", "success"),
    [("up", 1.0), ("degraded", 1.0), ("partial", 1.0), ("down", 0.0)],
)
def test_success_is_not_to_be_down(scrape, checked, status, success):
    checked("shop", status, latency=None, phases={})

    found = scrape()

    assert found["probe_success"] == {of("shop"): success}
    assert "probe_duration_seconds" not in found
    assert "probe_http_duration_seconds" not in found


def test_first_failure_is_told_before_it_is_confirmed(scrape, checked):
    checked("shop", state={"raw_status": "down"})

    found = scrape()

    assert found["probe_success"] == {of("shop"): 0.0}
    assert by_status(found) == {"up": 1}


def test_where_nobody_could_look_nothing_is_said(scrape, checked):
    old = whole(timezone.now()) - timedelta(seconds=1)
    checked("blind", "no_data")
    checked("stale", state={"fresh_until": old})

    found = scrape()

    assert "probe_success" not in found
    assert by_status(found) == {"no_data": 2}


def test_only_monitors_in_service_are_told(scrape, checked):
    now = timezone.now()
    checked("paused").pause(at=now)
    checked("retired").retire(at=now)

    found = scrape()

    assert "probe_success" not in found
    assert by_status(found) == {}


def test_monitors_are_counted_by_the_status_people_see(scrape, checked):
    now = timezone.now()
    checked("up")
    checked("down", "down")
    Overlay.objects.create(
        monitor=checked("mended", "down"),
        kind=Overlay.Kind.MAINTENANCE,
        status="maintenance",
        started_at=now - timedelta(minutes=1),
        cause="maintenance:1",
    )

    found = scrape()

    assert by_status(found) == {"up": 1, "down": 1, "maintenance": 1}
    assert found["probe_success"][of("mended")] == 0.0


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_hostile_names_stay_within_their_label(scraper, checked, accept):
    name = 'A"} 1\nprobe_success{tag="fake"} 0\\ \u2028<b>é'
    checked("shop", name=name)

    text = scraper.get("/metrics", headers={"Accept": accept}).content.decode()

    parse = parse_text if accept == "text/plain" else parse_openmetrics
    (family,) = (f for f in parse(text) if f.name == "probe_success")
    (sample,) = family.samples
    assert sample.labels == {"tag": "shop", "name": name, "kind": "http"}
    assert sample.value == 1.0


# What Tocsin says of itself


def test_tocsin_tells_how_it_is_itself(scrape, checked):
    checked("shop")
    late = whole(timezone.now()) - timedelta(seconds=30)
    MonitorState.objects.update(due_at=late)
    EngineMinute.objects.create(
        worker="a:1",
        at=vitals.whole_until(timezone.now()) - timedelta(minutes=1),
        checks=600,
        lateness=Sketch([10.0] * 90 + [500.0] * 10).to_bytes(),
        flushes=Sketch([40.0]).to_bytes(),
    )

    found = scrape()

    half, most = frozenset({("quantile", "0.5")}), frozenset({("quantile", "0.95")})
    lateness = found["tocsin_check_lateness_seconds"]
    assert lateness[half] == pytest.approx(0.01, rel=0.02)
    assert lateness[most] == pytest.approx(0.5, rel=0.02)
    assert found["tocsin_flush_seconds"][most] == pytest.approx(0.04, rel=0.02)
    assert found["tocsin_checks_per_second"] == {frozenset(): 2.0}
    due = found["tocsin_oldest_due_monitor_seconds"][frozenset()]
    assert due == pytest.approx(30, abs=10)
    assert found["tocsin_oldest_unannounced_transition_seconds"] == {frozenset(): 0.0}
    assert found["tocsin_oldest_unsent_message_seconds"] == {frozenset(): 0.0}


def test_what_was_not_measured_is_left_out(scrape):
    found = scrape()

    assert "tocsin_check_lateness_seconds" not in found
    assert found["tocsin_checks_total"] == {frozenset(): 0.0}


def test_checks_are_counted_on_when_a_monitor_is_retired(scrape, checked):
    checked("shop")
    gone = checked("gone")
    gone.retire(at=timezone.now())

    assert scrape()["tocsin_checks_total"] == {frozenset(): 4.0}


def test_scraping_takes_as_many_queries_for_one_as_for_thirty(scraper, checked):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert scraper.get("/metrics").status_code == 200
        return len(captured)

    def grow(n):
        monitor = checked(f"m{n}")
        Overlay.objects.create(
            monitor=monitor,
            kind=Overlay.Kind.INCIDENT,
            status="down",
            started_at=timezone.now(),
            cause="incident:1",
        )

    grow(0)
    queries()  # the first use of a key is noted
    few = queries()
    for n in range(1, 30):
        grow(n)

    assert queries() == few == 8
