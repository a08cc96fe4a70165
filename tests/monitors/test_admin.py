import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert
from alerting.rules import Change, Result
from monitors.instants import ms, whole
from monitors.models import (
    CheckResult,
    FailureEpisode,
    Label,
    Monitor,
    MonitorState,
    Prober,
    StatusPeriod,
)
from monitors.models.result import packed

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
    "time_zone": "UTC",
    "confirmations": "1",
    "retry_interval": "20",
    "degraded_counts": "up",
}
AT = datetime(2024, 11, 20, 14, 2, 3, 457_000, tzinfo=UTC)


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
        ({"interval": ""}, "interval", "Give an interval or a cron expression."),
        ({"cron": "daily"}, "cron", "give five fields such as 0 6 * * 1-5."),
        ({"time_zone": "Mars"}, "time_zone", "give one such as Europe/Berlin."),
        ({"confirmations": "11"}, "confirmations", "less than or equal to 10"),
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
    assert "first byte" in shown
    assert "Code 200" in shown
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


def change_page(monitor):
    return f"/admin/monitors/monitor/{monitor.pk}/change/"


def explained(monitor, query=""):
    return f"/admin/monitors/monitor/{monitor.pk}/explained/{query}"


def queries(client, path):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def row(page, words):
    """The table row with these words in it, as text."""
    rows = re.findall(r"<tr>.*?</tr>", page.content.decode(), re.S)
    [found] = [r for r in rows if words in r]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found))


# The form


def test_a_monitor_may_follow_a_cron_expression_and_needs_no_interval(admin):
    given = {"cron": "0 6 * * 1-5", "time_zone": "Europe/Berlin", "interval": ""}

    admin.post("/admin/monitors/monitor/add/", GIVEN | given)

    monitor = Monitor.objects.get()
    assert (monitor.cron, monitor.time_zone) == ("0 6 * * 1-5", "Europe/Berlin")
    assert monitor.interval == 60


def test_every_time_zone_is_suggested(admin):
    page = admin.get("/admin/monitors/monitor/add/").content.decode()

    assert 'list="zones"' in page
    assert '<option value="Europe/Berlin">' in page


def test_the_list_shows_the_cron_expression_instead_of_the_interval(
    admin, make_monitor
):
    make_monitor("nightly", cron="30 2 * * *", time_zone="Europe/Berlin")
    make_monitor("steady", interval=300)

    page = admin.get("/admin/monitors/monitor/")

    assert "30 2 * * * Europe/Berlin" in row(page, ">Nightly<")
    assert "5 min" in row(page, ">Steady<")


def test_parents_are_saved_so_that_workers_know_of_them(admin, make_monitor):
    router, shop = make_monitor("router"), make_monitor("shop")
    before = shop.state.revision

    admin.post(change_page(shop), GIVEN | {"parents": [router.pk]})

    shop.refresh_from_db()
    assert list(shop.parents.all()) == [router]
    assert MonitorState.objects.get(pk=shop.pk).revision != before


def test_a_new_monitor_has_its_parents(admin, make_monitor):
    router = make_monitor("router")

    admin.post("/admin/monitors/monitor/add/", GIVEN | {"parents": [router.pk]})

    assert list(Monitor.objects.get(tag="shop").parents.all()) == [router]


def test_a_monitor_is_neither_offered_nor_taken_as_its_own_parent(admin, make_monitor):
    make_monitor("router")
    make_monitor("gone").retire(at=timezone.now())
    shop = make_monitor("shop")

    page = admin.get(change_page(shop)).content.decode()
    refused = admin.post(change_page(shop), GIVEN | {"parents": [shop.pk]})

    offered = page.split('id="id_parents"')[1].split("</select>")[0]
    assert re.findall(r">(\w+)</option>", offered) == ["Router"]
    assert "A monitor cannot be its own parent." in text(refused)
    assert not shop.parents.exists()


# What its page says


def test_what_is_seen_and_not_yet_confirmed_stands_beside_what_is_shown(
    admin, make_monitor
):
    shop = make_monitor("shop", confirmations=3)
    MonitorState.objects.filter(pk=shop.pk).update(
        status="up", raw_status="down", unconfirmed="down", unconfirmed_count=1
    )

    words = "Down, not yet confirmed: 1 of 3"
    assert words in text(admin.get(change_page(shop)))
    assert words in text(admin.get("/admin/monitors/monitor/"))

    MonitorState.objects.update(unconfirmed="", unconfirmed_count=0)
    assert "not yet confirmed" not in text(admin.get(change_page(shop)))


def test_the_page_shows_parents_and_children(admin, make_monitor):
    router, shop, cart = map(make_monitor, ("router", "shop", "cart"))
    shop.depend_on([router])
    cart.depend_on([shop])

    page = admin.get(change_page(shop))

    assert "a parent" in row(page, ">Router<")
    assert "a child" in row(page, ">Cart<")


def test_the_latest_checks_say_who_looked_and_what_took_how_long(admin, make_monitor):
    shop = make_monitor("shop")
    by = Prober.objects.get(pk=Prober.named("worker-a"))
    found = {
        "checked_at": whole(timezone.now()),
        "latency_ms": 100.0,
        "packed_phases": packed({"dns": 1, "connect": 2, "first_byte": 90}),
        "checked_by": by,
    }
    CheckResult.objects.create(monitor=shop, status="up", position=1, **found)

    page = admin.get(change_page(shop))
    page_row = row(page, "worker-a")

    assert "dns 1 ms, connect 2 ms, first byte 90 ms, transfer 7 ms" in page_row
    assert "history" not in page_row
    widths = re.findall(
        r'<rect class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', page.content.decode()
    )
    assert [(name, float(x), float(width)) for name, x, width in widths] == [
        ("dns", 0, 1),
        ("connect", 1, 2),
        ("first_byte", 3, 90),
        ("transfer", 93, 7),
    ]


def test_history_and_consequences_are_marked_among_the_checks(admin, make_monitor):
    shop, now = make_monitor("shop"), whole(timezone.now())
    CheckResult.objects.create(
        monitor=shop,
        checked_at=now,
        status="down",
        is_consequence=True,
        error="No answer <within> 10 s",
    )

    page = row(admin.get(change_page(shop)), "No answer")

    assert "history: no rule read it, a consequence of a parent" in page
    assert "No answer &lt;within&gt; 10 s" in page


@pytest.fixture
def fail():
    """Write an episode of failures whose answers are full of markup."""

    def write(monitor, at=AT, minutes=5):
        answer = {
            "at": ms(at),
            "status": "down",
            "reason": "The answer was 500",
            "code": 500,
            "headers": {"Server": "<b>nginx</b>"},
            "body": "<script>alert(1)</script>",
        }
        end = at + timedelta(minutes=minutes)
        last = {"at": ms(end), "status": "down", "reason": "Connection refused"}
        FailureEpisode.objects.create(
            monitor=monitor, began_at=at, last_at=end, first=answer, last=last
        )

    return write


def test_what_was_answered_when_it_failed_is_shown_as_text(admin, make_monitor, fail):
    shop = make_monitor("shop")
    fail(shop)

    page = admin.get(change_page(shop)).content.decode()
    panel = page.split('id="episodes-head"')[1].split("</details>")[0]

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in panel
    assert "&lt;b&gt;nginx&lt;/b&gt;" in panel
    assert "<details open" not in panel
    assert "<b>500</b>" in panel
    assert "There was no answer." in panel


def test_what_was_answered_is_for_operators_only(staff, make_monitor, fail):
    shop = make_monitor("shop")
    fail(shop)

    page = staff("view_monitor").get(change_page(shop))

    assert "Latest checks" in text(page)
    assert "nginx" not in page.content.decode()


def test_the_latencies_of_a_day_are_drawn_and_told(admin, make_monitor):
    shop, now = make_monitor("shop"), whole(timezone.now())
    for n, latency in enumerate((100, 100, 400)):
        CheckResult.objects.create(
            monitor=shop,
            checked_at=now - timedelta(minutes=45 * n),
            status="up",
            latency_ms=latency,
        )

    page = admin.get(change_page(shop)).content.decode()
    said = re.search(r'aria-label="(Latency, the last 24 hours[^"]+)"', page)[1]

    assert "Half of the answers took no longer than 100 ms to 400 ms" in said
    assert "There was no answer in 93 of 96 quarters of an hour." in said
    assert page.count('class="p50"') == page.count('class="p95"') == 1


def test_a_monitor_that_never_answered_has_no_drawing(admin, make_monitor):
    page = admin.get(change_page(make_monitor("shop")))

    assert "No check was answered in the last 24 hours." in text(page)


def test_without_results_of_a_day_there_is_no_panel_of_them(
    admin, make_monitor, settings
):
    settings.RESULT_RETENTION_DAYS = 0

    page = admin.get(change_page(make_monitor("shop")))

    assert "Latest checks" in text(page)
    assert "in the last 24 hours." not in text(page)


def test_a_page_of_one_monitor_takes_as_many_queries_as_one_of_much(
    admin, make_monitor, correct, fail, was
):
    def fill(monitor, n):
        others = [make_monitor(f"{monitor.tag}-{i}") for i in range(2 * n)]
        monitor.depend_on(others[:n])
        for child in others[n:]:
            child.depend_on([monitor])
        was(monitor, *[("up", 5), ("down", 5)] * n)
        by = [Prober.named(f"{monitor.tag} {i}") for i in range(n)]
        for i in range(n):
            at = whole(timezone.now()) - timedelta(minutes=10 * i + 10)
            fail(monitor, at)
            correct(monitor, at=at)
            CheckResult.objects.create(
                monitor=monitor,
                checked_at=at,
                status="up",
                latency_ms=5,
                checked_by_id=by[i],
            )

    one, many = make_monitor("one"), make_monitor("many")
    fill(one, 1)
    fill(many, 30)
    admin.get(change_page(one))

    assert queries(admin, change_page(one)) == queries(admin, change_page(many))
    assert queries(admin, explained(one)) == queries(admin, explained(many))


# Labels, owner, and what its incidents are like


def test_labels_are_saved_by_the_models_own_way(admin, make_monitor, make_rule):
    label = Label.objects.create(name="payments")
    shop = make_monitor("shop")
    shop.label([label])
    rule = make_rule()
    rule.labels.set([label])
    now = timezone.now()
    failed = Result(id=1, at=now, status="down")
    alert = Alert.trigger(rule, shop, Change("TRIGGERED", failed, now, "3"))

    page = admin.get(change_page(shop)).content.decode()
    admin.post(change_page(shop), GIVEN)

    assert "payments" in page
    alert.refresh_from_db()
    assert not shop.labels.exists()
    assert alert.state == "RESOLVED"


def test_a_new_monitor_has_its_labels_its_owner_and_its_incidents(admin, operator):
    label = Label.objects.create(name="payments")
    given = {
        "labels": [label.pk],
        "owner": operator.pk,
        "incident_severity": "2",
        "incident_drafts": "False",
    }

    admin.post("/admin/monitors/monitor/add/", GIVEN | given)

    monitor = Monitor.objects.get()
    assert list(monitor.labels.all()) == [label]
    assert (monitor.owner, monitor.incident_severity) == (operator, 2)
    assert monitor.incident_drafts is False


def test_what_is_left_open_says_what_holds(admin):
    page = admin.get("/admin/monitors/monitor/add/").content.decode()
    admin.post("/admin/monitors/monitor/add/", GIVEN)

    assert "as its rule says" in page
    assert "as the settings say" in page
    monitor = Monitor.objects.get()
    assert (monitor.owner, monitor.incident_severity) == (None, None)
    assert monitor.incident_drafts is None


@pytest.mark.parametrize("is_new", [True, False])
def test_a_label_is_added_to_several(admin, make_monitor, is_new):
    one, other = make_monitor("one"), make_monitor("other")
    europe, payments = (Label.objects.create(name=n) for n in ("europe", "payments"))
    one.label([europe])
    given = {"name": "new"} if is_new else {"label": payments.pk}

    asked = text(act(admin, "add_label", one, other))
    said = text(act(admin, "add_label", one, other, confirmed="yes", **given))

    name = "new" if is_new else "payments"
    assert "Label two monitors" in asked
    assert f"Two monitors labelled {name}." in said
    assert {label.name for label in one.labels.all()} == {"europe", name}
    assert {label.name for label in other.labels.all()} == {name}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Choose a label, or give the name of a new one."),
        ({"name": "Not A Label"}, "Use lower-case letters"),
        ({"label": "77"}, "Select a valid choice"),
    ],
)
def test_adding_no_label_says_what_is_missing(admin, make_monitor, given, words):
    page = text(act(admin, "add_label", make_monitor(), confirmed="yes", **given))

    assert words in page
    assert not Label.objects.exists()


def test_the_list_shows_labels_and_is_filtered_by_them(admin, make_monitor):
    label = Label.objects.create(name="payments")
    make_monitor("one").label([label])
    make_monitor("other")

    shown = row(admin.get("/admin/monitors/monitor/"), ">One<")
    found = text(admin.get(f"/admin/monitors/monitor/?labels__id__exact={label.pk}"))

    assert "payments" in shown
    assert ("One" in found, "Other" in found) == (True, False)


def test_the_list_takes_as_many_queries_for_one_as_for_thirty(admin, make_monitor):
    make_monitor("one").label([Label.objects.create(name="one")])
    path = "/admin/monitors/monitor/"
    admin.get(path)
    before = queries(admin, path)
    for n in range(29):
        make_monitor(f"m-{n}").label([Label.objects.create(name=f"l-{n}")])

    assert queries(admin, path) == before


def test_labels_are_counted_and_lead_to_their_monitors(admin, make_monitor):
    label = Label.objects.create(name="payments")
    make_monitor("one").label([label])
    gone = make_monitor("gone")
    gone.label([label])
    gone.retire(at=timezone.now())

    listed = admin.get("/admin/monitors/label/").content.decode()
    page = text(admin.get(f"/admin/monitors/label/{label.pk}/change/"))

    assert f'?labels__id__exact={label.pk}">1</a>' in listed
    assert "Monitors with it" in page
    assert ("One" in page, "Gone" in page) == (True, False)


def test_a_label_in_use_is_not_deleted(admin, make_monitor):
    label, free = (Label.objects.create(name=n) for n in ("payments", "free"))
    make_monitor("one").label([label])
    selected = {"action": "delete_selected", "index": 0, "post": "yes"}

    refused = admin.post(
        f"/admin/monitors/label/{label.pk}/delete/", {"post": "yes"}, follow=True
    )
    both = {**selected, "_selected_action": [label.pk, free.pk]}
    listed = admin.post("/admin/monitors/label/", both)

    words = "The label payments is in use by one monitor."
    assert words in text(refused)
    assert words in text(listed)
    assert Label.objects.count() == 2
    admin.post(f"/admin/monitors/label/{free.pk}/delete/", {"post": "yes"})
    assert Label.objects.get() == label
