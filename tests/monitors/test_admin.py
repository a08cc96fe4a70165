import re

import pytest
from django.utils import timezone

from alerting.models import Alert
from alerting.rules import Change, Result
from monitors.instants import whole
from monitors.models import CheckResult, Monitor, MonitorState, StatusPeriod

GIVEN = {
    "name": "Shop",
    "tag": "shop",
    "kind": "http",
    "interval": 30,
    "is_active": "on",
    "http__url": "http://127.0.0.1:9/",
    "http__method": "GET",
    "http__timeout": "10",
    "http__expected_status_codes": "200-299\n404",
}


def act(client, action, *rows, **more):
    return client.post(
        "/admin/monitors/monitor/",
        {
            "_selected_action": [r.pk for r in rows],
            "action": action,
            "index": 0,
            **more,
        },
        follow=True,
    )


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.fixture
def open_alert(make_rule):
    def make(monitor):
        now = timezone.now()
        failed = Result(id=1, at=now, status="down")
        rule = make_rule(monitor)
        return Alert.trigger(rule, monitor, Change("TRIGGERED", failed, now, "3"))

    return make


def test_a_monitor_is_made_from_fields(admin):
    admin.post("/admin/monitors/monitor/add/", GIVEN)

    monitor = Monitor.objects.get()
    assert monitor.config == {
        "url": "http://127.0.0.1:9/",
        "method": "GET",
        "timeout": 10.0,
        "expected_status_codes": ["200-299", "404"],
    }
    assert monitor.state.due_at == whole(monitor.created_at)


def test_a_monitor_made_paused_is_not_due(admin):
    admin.post("/admin/monitors/monitor/add/", GIVEN | {"is_active": ""})

    assert Monitor.objects.get().state.due_at is None


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"http__url": "nonsense"}, "http__url", "Give an address that begins with"),
        ({"http__url": ""}, "http__url", "This field is required."),
        ({"http__method": "BREW"}, "http__method", "Choose one of GET"),
        ({"http__timeout": "900"}, "http__timeout", "Give 0.1 to 60 seconds."),
        ({"http__timeout": "soon"}, "http__timeout", "Enter a number."),
        (
            {"http__expected_status_codes": "20x"},
            "http__expected_status_codes",
            "is no code or range",
        ),
        ({"interval": 1}, "interval", "greater than or equal to 5"),
        ({"tag": "Sh op"}, "tag", "Use lower-case letters"),
    ],
)
def test_what_is_wrong_stands_at_its_field(admin, change, field, words):
    page = admin.post("/admin/monitors/monitor/add/", GIVEN | change).content.decode()

    row = page.split(f"field-{field}")[1]
    assert words in row.split("form-row")[0]
    assert not Monitor.objects.exists()


def test_a_tag_is_taken_only_once(admin, make_monitor):
    make_monitor("shop")

    page = admin.post("/admin/monitors/monitor/add/", GIVEN)

    assert "There is already a monitor with this tag." in text(page)


def test_an_edited_monitor_counts_anew(admin, make_monitor):
    monitor = make_monitor("shop")
    before = monitor.counts_from

    admin.post(
        f"/admin/monitors/monitor/{monitor.pk}/change/",
        GIVEN | {"http__url": "http://127.0.0.1:9/new"},
    )

    monitor.refresh_from_db()
    assert monitor.config["url"] == "http://127.0.0.1:9/new"
    assert monitor.counts_from > before


def test_the_form_pauses_and_resumes_by_the_models_own_way(
    admin, make_monitor, open_alert
):
    monitor = make_monitor("shop")
    alert = open_alert(monitor)
    page = f"/admin/monitors/monitor/{monitor.pk}/change/"

    admin.post(page, GIVEN | {"is_active": ""})
    alert.refresh_from_db()
    paused = Monitor.objects.get()
    admin.post(page, GIVEN)

    assert (alert.state, paused.is_active) == ("RESOLVED", False)
    assert alert.transitions.last().reason == "The monitor was paused."
    assert Monitor.objects.get().is_active
    assert Monitor.objects.get().counts_from > paused.counts_from


def test_actions_pause_and_resume(admin, make_monitor):
    one, other = make_monitor("one"), make_monitor("other")

    paused = text(act(admin, "pause", one, other))
    states = set(MonitorState.objects.values_list("due_at", flat=True))
    resumed = text(act(admin, "resume", one))

    assert "Two monitors paused" in paused
    assert states == {None}
    assert "One monitor watched again" in resumed
    assert Monitor.objects.active().get() == one


def test_check_now_shows_the_outcome_and_leaves_no_trace(admin, make_monitor, shop):
    up, refused = make_monitor("up", url=shop.url), make_monitor("refused")
    shop.delay = 0

    shown = text(act(admin, "check_now", up, refused))

    assert re.search(r"Up Up \d+ ms", shown)
    assert "first_byte" in shown
    assert re.search(r"Refused Down &ndash;|Refused Down", shown)
    assert not CheckResult.objects.exists()
    assert StatusPeriod.objects.count() == 2


def test_deleting_retires_and_says_so_before(admin, make_monitor, open_alert):
    monitor = make_monitor("shop")
    alert = open_alert(monitor)
    page = f"/admin/monitors/monitor/{monitor.pk}/delete/"

    asked = text(admin.get(page))
    admin.post(page, {"post": "yes"})

    assert "Its history stays" in asked
    monitor.refresh_from_db()
    alert.refresh_from_db()
    assert monitor.retired_at is not None
    assert alert.state == "RESOLVED"


def test_deleting_the_selected_retires_them(admin, make_monitor, open_alert):
    one, other = make_monitor("one"), make_monitor("other")
    alert = open_alert(one)

    asked = text(act(admin, "delete_selected", one, other))
    act(admin, "delete_selected", one, other, post="yes")

    assert "Its history stays" in asked
    alert.refresh_from_db()
    assert alert.transitions.last().reason == "The monitor was deleted."
    assert Monitor.objects.filter(retired_at=None).count() == 0
    assert Monitor.objects.count() == 2


def test_retired_monitors_are_shown_only_when_asked_for(admin, make_monitor):
    make_monitor("gone").retire(at=timezone.now())
    make_monitor("here")

    shown = text(admin.get("/admin/monitors/monitor/"))
    asked = text(admin.get("/admin/monitors/monitor/?retired=yes"))
    everything = text(admin.get("/admin/monitors/monitor/?retired=all"))

    assert ("Here" in shown, "Gone" in shown) == (True, False)
    assert ("Here" in asked, "Gone" in asked) == (False, True)
    assert ("Here" in everything, "Gone" in everything) == (True, True)


def test_a_retired_monitor_cannot_be_edited(admin, make_monitor):
    monitor = make_monitor("gone")
    monitor.retire(at=timezone.now())
    page = f"/admin/monitors/monitor/{monitor.pk}/change/"

    assert "Check now" not in text(admin.get(page))
    assert admin.post(page, GIVEN).status_code == 403


def test_the_page_shows_checks_and_history(admin, make_monitor, clockwork, shop):
    shop.break_down()
    monitor = make_monitor("shop", url=shop.url)
    clockwork.run_checks()

    shown = text(admin.get(f"/admin/monitors/monitor/{monitor.pk}/change/"))

    assert "Latest checks" in shown
    assert "The answer was 500, expected 200-299" in shown
    assert "History of its status" in shown
    assert "None: when it fails, nobody is told." in shown


def test_the_list_is_found_by_address_and_filtered_by_status(admin, make_monitor):
    make_monitor("one", url="http://127.0.0.1:9/alpha")
    make_monitor("other", url="http://127.0.0.1:9/beta")
    MonitorState.objects.filter(monitor__tag="one").update(status="down")

    found = text(admin.get("/admin/monitors/monitor/?q=beta"))
    down = text(admin.get("/admin/monitors/monitor/?state__status__exact=down"))

    assert ("One" in found, "Other" in found) == (False, True)
    assert ("One" in down, "Other" in down) == (True, False)
