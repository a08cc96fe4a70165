import re

import pytest
from django.utils import timezone

from alerting.models import Alert, AlertRule, Decision
from alerting.rules import Change, Result
from incidents.models import Incident
from outbox.models import Message


def given(*monitors, **more):
    return {
        "name": "Down",
        "monitors": [m.pk for m in monitors],
        "alert_for": "STATUS",
        "alert_value": "DOWN",
        "failure_threshold": 3,
        "success_threshold": 2,
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


@pytest.mark.parametrize("kind", ["LATENCY", "UPTIME"])
def test_what_cannot_be_watched_yet_is_refused_clearly(admin, make_monitor, kind):
    page = admin.post(
        "/admin/alerting/alertrule/add/", given(make_monitor(), alert_for=kind)
    )

    assert "Only STATUS can be watched so far; choose STATUS." in text(page)
    assert not AlertRule.objects.exists()


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
        given(shop, alert_value="DEGRADED"),
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

    filtered = text(
        admin.get(f"/admin/alerting/alert/?rule__id__exact={other.rule_id}")
    )

    assert ("First rule" in filtered, "Second rule" in filtered) == (False, True)
    assert admin.get("/admin/alerting/alert/add/").status_code == 403
    assert admin.get(f"/admin/alerting/alert/{alert.pk}/delete/").status_code == 403
