"""The admin's page of the engine."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitors import vitals
from monitors.instants import whole
from monitors.models import EngineMinute, Monitor, MonitorState
from monitors.sketches import Sketch

MINUTE = timedelta(minutes=1)


@pytest.fixture
def worked(db):
    """Write down minutes of a worker: the first so many minutes ago, then back."""

    def worked(*ago, worker="a:1", checks=120, late=2.0):
        end = vitals.whole_until(timezone.now())
        for minutes in ago:
            EngineMinute.objects.create(
                worker=worker,
                at=end - minutes * MINUTE,
                checks=checks,
                lateness=Sketch([late] * 120).to_bytes(),
                flushes=Sketch([20.0]).to_bytes(),
            )

    return worked


def html(client):
    answer = client.get("/admin/engine/")
    assert answer.status_code == 200
    return answer.content.decode()


def text(client):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html(client)))


def test_new_installation_has_nothing_to_draw(admin):
    shown = text(admin)

    assert "Nothing is being checked" in shown
    assert "There is nothing to draw." in shown
    assert "No worker has checked anything in the last three hours." in shown


def test_engine_that_keeps_up_says_so_in_words(admin, worked):
    worked(*range(1, 6))
    worked(*range(1, 6), worker="b:2")

    shown = text(admin)

    assert "Tocsin keeps up" in shown
    assert "4 checks a second by two workers over the last five minutes." in shown
    assert "Half of them started within 2 ms of their moment" in shown
    assert "over its" not in shown


def test_engine_that_does_not_keep_up_names_what_is_over_its_limit(
    admin, worked, make_monitor
):
    worked(1, 2, late=4000.0)

    assert "Checks start late" in text(admin)
    assert "over its limit 1 s" in text(admin)

    make_monitor()
    late = whole(timezone.now()) - timedelta(seconds=90)
    MonitorState.objects.update(due_at=late)
    shown = text(admin)
    assert "Tocsin does not keep up" in shown
    assert "Checks start late. Monitors wait for a worker." in shown


def test_few_checks_are_counted_by_the_minute_and_not_judged(admin, worked):
    worked(1, 2, 3, checks=2, late=4000.0)

    shown = text(admin)

    assert "Tocsin keeps up 1.2 checks a minute by one worker" in shown
    assert "limit 1 s, too few checks to judge" in shown
    assert 'aria-label="Checks a minute, the last three hours. Mostly 2,' in html(admin)


def test_limits_are_those_of_the_monitor_that_watches(admin, worked, make_monitor):
    worked(1, late=4000.0)
    assert "No monitor watches this, so nobody is told." in text(admin)

    watch = make_monitor("self", kind="tocsin", config={"lateness_p95_ms": 9000.0})

    shown = html(admin)
    assert f"/admin/monitors/monitor/{watch.pk}/change/" in shown
    assert "limit 9 s" in shown
    assert "Tocsin keeps up" in shown


def test_limits_that_cannot_be_read_are_the_usual_ones(admin, make_monitor):
    make_monitor("self", kind="tocsin", config={"timeout": 5.0})
    Monitor.objects.update(config={"nonsense": 1})

    assert "limit 1 s" in text(admin)


def test_drawings_say_in_words_and_in_a_table_what_they_show(admin, worked):
    worked(*range(1, 101))

    shown = html(admin)

    labels = re.findall(r'role="img" aria-label="([^"]+)"', shown)
    assert len(labels) == 3
    assert labels[0].startswith("Checks a second, the last three hours. Mostly 2,")
    assert all("measured in 80 of 180 minutes." in label for label in labels)
    table = shown.split('id="minutes"')[1]
    assert table.count("<tr>") == 101
    assert "<script" not in shown.split("<main")[1]


def test_minutes_over_the_limit_are_marked(admin, worked):
    worked(1, 2, 3, late=4000.0)

    assert html(admin).count('class="shade-x"') == 1


def test_every_worker_is_listed_with_its_last_minute(admin, worked):
    worked(0, 1, 2, checks=1200)
    worked(100, worker="ended:7", checks=5)

    rows = re.findall(r'<tr><th scope="row">([^<]+)</th>', html(admin))
    shown = text(admin)

    assert rows[:2] == ["a:1", "ended:7"]
    assert "1,200 2 ms 3,600" in shown
    assert "by one worker" in shown


def test_engine_takes_as_many_queries_for_one_as_for_thirty(
    admin, worked, make_monitor
):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            html(admin)
        return len(captured)

    worked(1, 2)
    make_monitor("first")
    few = queries()
    for n in range(29):
        worked(1, 2, worker=f"w:{n}")
        make_monitor(f"m{n}")

    assert queries() == few
    assert few <= 20


def test_engine_is_in_the_sidebar_and_on_the_front_page(admin):
    now = admin.get("/admin/").content.decode()

    assert now.count('href="/admin/engine/"') == 2
    assert re.search(r'href="/admin/engine/" aria-current="page"', html(admin))


def test_engine_is_for_operators(db):
    assert Client().get("/admin/engine/").status_code == 302
