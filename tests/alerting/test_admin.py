import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import simulation
from alerting.models import Alert, AlertRule, Decision
from alerting.rules import Change, Result
from incidents.models import Incident
from monitors.models import CheckResult, Label
from outbox.models import Message


def given(*monitors, **more):
    return {
        "name": "Down",
        "monitors": [m.pk for m in monitors],
        "alert_for": "STATUS",
        "status_value": "DOWN",
        "failure_threshold": 3,
        "success_threshold": 2,
        "unit": "CHECKS",
        "repeat_minutes": 0,
        "severity": "WARNING",
        "is_active": "on",
        **more,
    }


def act(client, action, *rows, path="alertrule", **more):
    return client.post(
        f"/admin/alerting/{path}/",
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


def triggered(rule, monitor):
    now = timezone.now()
    failed = Result(id=1, at=now, status="down", error="It answered 500")
    reason = "3 failures in a row"
    return Alert.trigger(rule, monitor, Change("TRIGGERED", failed, now, reason))


def last_reason(alert):
    return alert.transitions.last().reason


def test_a_rule_is_made_with_monitors_and_triggers(admin, make_monitor, make_trigger):
    shop, hook = make_monitor("shop"), make_trigger(url="http://127.0.0.1:9/")

    admin.post(
        "/admin/alerting/alertrule/add/",
        given(shop, triggers=[hook.pk], create_incident="on"),
    )

    rule = AlertRule.objects.get()
    assert list(rule.monitors.all()) == [shop]
    assert list(rule.triggers.all()) == [hook]
    assert rule.create_incident


def test_a_rule_can_be_begun_for_a_monitor(admin, make_monitor):
    shop = make_monitor("shop")

    page = admin.get(f"/admin/alerting/alertrule/add/?monitors={shop.pk}")

    assert f'<option value="{shop.pk}" selected>' in page.content.decode()


@pytest.mark.parametrize(
    ("filled_in", "value", "minutes", "when"),
    [
        (
            {"alert_for": "STATUS", "status_value": "DEGRADED", "includes_worse": "on"},
            *("DEGRADED", 0, "STATUS is DEGRADED or DOWN, 3 in a row"),
        ),
        (
            {"alert_for": "LATENCY", "latency_value": "800", "includes_worse": "on"},
            *("800", 0, "LATENCY over 800 ms, 3 in a row"),
        ),
        (
            {"alert_for": "LATENCY", "latency_value": "0.5", "p95_minutes": 5},
            *("0.5", 5, "LATENCY (p95 of 5 min) over 0.5 ms, 3 in a row"),
        ),
        (
            {"alert_for": "UPTIME", "uptime_value": "99.95"},
            *("99.95", 0, "UPTIME below 99.95 %, over 3 checks"),
        ),
        (
            {"alert_for": "CERT_DAYS", "cert_days_value": "14", "unit": "SECONDS"},
            *("14", 0, "CERT_DAYS below 14, for 3 seconds"),
        ),
        (
            {"alert_for": "BURN_RATE", "objective_value": 99.9, "objective_days": 7},
            *("99.9", 10_080, "BURN_RATE of 99.9 % over 7 days, 3 in a row"),
        ),
    ],
)
def test_a_rule_of_every_kind_is_filled_in(
    admin, make_monitor, filled_in, value, minutes, when
):
    admin.post("/admin/alerting/alertrule/add/", given(make_monitor(), **filled_in))

    rule = AlertRule.objects.get()
    assert (rule.alert_value, rule.window_minutes) == (value, minutes)
    assert rule.when == when
    page = admin.get(f"/admin/alerting/alertrule/{rule.pk}/change/").content.decode()
    assert f'value="{value}" selected' in page or f'value="{value}"' in page


@pytest.mark.parametrize(
    ("filled_in", "why"),
    [
        ({"alert_for": "LATENCY", "latency_value": ""}, "Give milliseconds, 0.001 to"),
        ({"alert_for": "UPTIME", "uptime_value": 101}, "Give a percentage, 0.001 to"),
        ({"alert_for": "CERT_DAYS", "cert_days_value": 0}, "Give a number of days"),
        ({"alert_for": "BURN_RATE", "objective_value": 100}, "Give a percentage, 1 to"),
        (
            {"alert_for": "LATENCY", "latency_value": 1, "p95_minutes": 1441},
            "Give at most 1,440 minutes for a latency.",
        ),
        (
            {"alert_for": "STATUS", "status_value": "DOWN", "includes_worse": "on"},
            "Only a rule on STATUS DEGRADED can be met by DOWN, too.",
        ),
        ({"monitors": []}, "Choose monitors or labels, or tick Every monitor."),
    ],
)
def test_what_cannot_be_judged_is_refused_beside_its_field(
    admin, make_monitor, filled_in, why
):
    page = admin.post(
        "/admin/alerting/alertrule/add/", given(make_monitor(), **filled_in)
    )

    assert text(page).count(why) == 1
    assert not AlertRule.objects.exists()


def test_a_rule_watches_by_labels_and_all(admin, make_monitor):
    shop = make_monitor("shop")
    shop.label([Label.objects.create(name="payments")])
    label = Label.objects.get()
    page = "/admin/alerting/alertrule/"

    admin.post(f"{page}add/", given(labels=[label.pk]))
    rule = AlertRule.objects.get()
    by_label = list(rule.watched())
    admin.post(f"{page}{rule.pk}/change/", given(watches_all="on"))

    assert by_label == [shop]
    assert AlertRule.objects.get().watches_all
    assert not rule.labels.exists()
    assert "every monitor" in text(admin.get(page))


def test_every_field_is_there_without_a_script(admin):
    page = text(admin.get("/admin/alerting/alertrule/add/"))

    for kind in AlertRule.For.values:
        assert kind in page


def test_whoever_may_only_look_reads_the_sentence(client, make_monitor, make_rule):
    rule = make_rule(make_monitor())
    looker = User.objects.create_user("lee", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_alertrule"))
    client.force_login(looker)

    page = text(client.get(f"/admin/alerting/alertrule/{rule.pk}/change/"))

    assert "STATUS is DOWN, 3 in a row" in page
    assert "Try it" not in page
    address = f"/admin/alerting/alertrule/{rule.pk}/try/"
    assert client.post(address, given()).status_code == 403


def test_the_list_needs_the_same_queries_for_any_number(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    make_rule(shop)
    admin.get("/admin/alerting/alertrule/")
    with CaptureQueriesContext(connection) as one:
        admin.get("/admin/alerting/alertrule/")
    for _ in range(29):
        make_rule(shop)

    with CaptureQueriesContext(connection) as thirty:
        admin.get("/admin/alerting/alertrule/")

    assert len(thirty) == len(one)


# Trying


@pytest.fixture
def outages(make_monitor):
    """A shop with two outages of five minutes in the last day."""
    shop, now = make_monitor("shop", name="Web Shop"), timezone.now()
    CheckResult.objects.bulk_create(
        CheckResult(
            monitor=shop,
            checked_at=now - timedelta(minutes=1440 - n),
            status="down" if n % 720 in range(100, 105) else "up",
            latency_ms=50 + n % 7,
        )
        for n in range(1, 1440)
    )
    return shop


@pytest.mark.parametrize("days", ["1", "7", "30", "junk"])
def test_a_new_rule_is_tried_and_not_saved(admin, outages, days):
    filled_in = given(outages, name="", create_incident="on", _days=days)

    page = admin.post("/admin/alerting/alertrule/try/", filled_in)

    said = text(page)
    assert "would have made two alerts and two incidents" in said
    assert "Counted from 1,439 stored checks" in said
    assert 'action="/admin/alerting/alertrule/add/"' in page.content.decode()
    assert not AlertRule.objects.exists()
    assert not Alert.objects.exists()


def test_a_change_is_tried_and_not_saved(admin, outages, make_rule):
    rule = make_rule(outages)
    real = triggered(rule, outages)
    real.link(number=7, path="/incidents/7/")
    filled_in = given(outages, name="Sharper", failure_threshold=6, _days="7")

    page = admin.post(f"/admin/alerting/alertrule/{rule.pk}/try/", filled_in)

    said = text(page)
    assert "With this rule the last 7 days would have made no alerts" in said
    assert "really 1, by this rule" in said
    assert "Only 5 of 6 failures in a row" in said
    html = page.content.decode()
    assert f'action="/admin/alerting/alertrule/{rule.pk}/change/"' in html
    assert 'value="Sharper"' in html
    rule.refresh_from_db()
    assert (rule.name, rule.failure_threshold) == ("Down for three checks", 3)


@pytest.mark.parametrize(
    ("kind", "drawn"),
    [
        ({"alert_for": "LATENCY", "latency_value": 54}, "Latency of Web Shop"),
        ({"alert_for": "UPTIME", "uptime_value": 99}, "Web Shop: "),
        ({"alert_for": "BURN_RATE", "objective_value": 99.9}, "Web Shop: "),
        ({"alert_for": "CERT_DAYS", "cert_days_value": 30}, "Web Shop: no alerts"),
    ],
)
def test_every_kind_is_drawn(admin, outages, kind, drawn):
    page = admin.post("/admin/alerting/alertrule/try/", given(outages, **kind))

    assert drawn in page.content.decode()


def test_what_is_wrong_is_said_instead_of_tried(admin, outages):
    unfit = given(outages, failure_threshold=0)

    page = text(admin.post("/admin/alerting/alertrule/try/", unfit))

    assert "greater than or equal to 1" in page
    assert "would have made" not in page


def test_too_much_to_try_names_the_cap(admin, outages, monkeypatch):
    monkeypatch.setattr(simulation, "MOST_RESULTS", 1000)

    page = text(admin.post("/admin/alerting/alertrule/try/", given(outages)))

    assert "There are more than 1,000 results to replay." in page


def test_of_many_monitors_the_noisiest_are_drawn(admin, outages, make_monitor):
    for n in range(21):
        make_monitor(f"m{n:02}")

    page = admin.post("/admin/alerting/alertrule/try/", given(watches_all="on"))

    html = page.content.decode()
    assert html.count('<figure class="replayed">') == 20
    assert html.index("Web Shop") < html.index("M00")
    assert "Other monitors" in html


def test_alerts_that_cannot_be_told_apart_are_drawn_as_one(admin, outages):
    CheckResult.objects.filter(latency_ms__gt=54).update(status="down")
    nervous = given(outages, failure_threshold=1, success_threshold=1, _days="30")

    page = admin.post("/admin/alerting/alertrule/try/", nervous).content.decode()

    assert page.count('<g class="made">') < 20
    assert "times alert from" in page
    assert "Left alone, held back or opened again" in page


def test_the_page_of_a_try_leads_back_to_its_form(admin, make_monitor, make_rule):
    rule = make_rule(make_monitor())

    new = admin.get("/admin/alerting/alertrule/try/")
    stored = admin.get(f"/admin/alerting/alertrule/{rule.pk}/try/")

    assert new.url == "/admin/alerting/alertrule/add/"
    assert stored.url == f"/admin/alerting/alertrule/{rule.pk}/change/"


def test_thresholds_begin_at_one(admin, make_monitor):
    page = admin.post(
        "/admin/alerting/alertrule/add/", given(make_monitor(), failure_threshold=0)
    )

    assert "greater than or equal to 1" in text(page)


def test_switching_off_in_the_form_resolves(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)
    page = f"/admin/alerting/alertrule/{rule.pk}/change/"

    admin.post(page, given(shop, is_active=""))
    before = AlertRule.objects.get()
    admin.post(page, given(shop))

    assert last_reason(alert) == "The rule was switched off."
    assert not before.is_active
    assert AlertRule.objects.get().is_active
    assert AlertRule.objects.get().counts_from > before.counts_from


def test_leaving_a_monitor_out_resolves_its_alert(admin, make_monitor, make_rule):
    shop, search = make_monitor("shop"), make_monitor("search")
    rule = make_rule(shop, search)
    alert = triggered(rule, shop)

    admin.post(f"/admin/alerting/alertrule/{rule.pk}/change/", given(search))

    assert last_reason(alert) == "The monitor was removed from the rule."
    assert list(rule.monitors.all()) == [search]


def test_another_value_resolves_the_alert(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)

    admin.post(
        f"/admin/alerting/alertrule/{rule.pk}/change/",
        given(shop, status_value="DEGRADED"),
    )

    assert last_reason(alert) == "The rule was changed."


def test_actions_switch_off_and_on(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)

    off = text(act(admin, "switch_off", rule))
    on = text(act(admin, "switch_on", rule))

    assert "One alert rule switched off" in off
    assert "One alert rule switched on" in on
    assert last_reason(alert) == "The rule was switched off."


@pytest.mark.parametrize("way", ["page", "list"])
def test_deleting_retires_the_rule(admin, make_monitor, make_rule, way):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)

    if way == "page":
        path = f"/admin/alerting/alertrule/{rule.pk}/delete/"
        asked = text(admin.get(path))
        admin.post(path, {"post": "yes"})
    else:
        asked = text(act(admin, "delete_selected", rule))
        act(admin, "delete_selected", rule, post="yes")

    assert "The log keeps its alerts." in asked
    rule.refresh_from_db()
    assert rule.retired_at is not None
    assert last_reason(alert) == "The rule was deleted."


def test_resolving_by_hand_closes_the_incident_at_once(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)
    alert.transitions.get().announce(at=timezone.now())

    shown = text(act(admin, "resolve", alert, path="alert"))

    assert last_reason(alert) == "Resolved by hand by ana."
    assert Incident.objects.get().state == "RESOLVED"
    assert "One alert resolved" in shown


def test_the_page_of_an_alert_tells_all_that_followed(
    admin, make_monitor, make_rule, make_trigger
):
    shop, hook = make_monitor("shop"), make_trigger(url="http://127.0.0.1:9/")
    alert = triggered(make_rule(shop, triggers=[hook]), shop)
    Decision.note(alert, "cooldown", "An incident has just ended.", at=timezone.now())
    alert.transitions.get().postpone(RuntimeError("listener"), at=timezone.now())

    shown = text(admin.get(f"/admin/alerting/alert/{alert.pk}/change/"))

    assert "3 failures in a row" in shown
    assert "Failing RuntimeError: listener" in shown
    assert "An incident has just ended." in shown
    assert "Waiting webhook Webhook" in shown
    assert Message.objects.count() == 1


def test_an_alert_links_to_its_incident(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)
    alert.transitions.get().announce(at=timezone.now())

    page = admin.get("/admin/alerting/alert/").content.decode()

    number = Incident.objects.get().pk
    assert f'href="/admin/incidents/incident/{number}/change/"' in page


def test_the_log_is_read_only_and_filters_by_rule(admin, make_monitor, make_rule):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop, name="First rule"), shop)
    other = triggered(make_rule(shop, name="Second rule"), shop)

    page = admin.get(f"/admin/alerting/alert/?rule__id__exact={other.rule_id}")
    # The filters beside the list name every rule.
    filtered = page.content.decode().split("<tbody>")[1].split("</tbody>")[0]

    assert ("First rule" in filtered, "Second rule" in filtered) == (False, True)
    assert admin.get("/admin/alerting/alert/add/").status_code == 403
    assert admin.get(f"/admin/alerting/alert/{alert.pk}/delete/").status_code == 403
