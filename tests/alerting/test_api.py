import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerting.models import Alert, AlertRule
from monitors.models import Label
from outbox.models import Message

RULE = {"name": "Down", "monitors": ["shop"]}


def test_rule_is_created_with_its_defaults(api, make_monitor, make_trigger):
    make_monitor("shop")
    trigger = make_trigger(url="http://127.0.0.1:9/")

    answer = api.post("/api/v1/alert-rules/", {**RULE, "triggers": [trigger.pk]})

    assert answer.status_code == 201
    body = answer.json()
    assert AlertRule.objects.get(pk=body.pop("id")).name == "Down"
    assert body.pop("created_at")
    assert body == {
        "name": "Down",
        "monitors": ["shop"],
        "labels": [],
        "watches_all": False,
        "alert_for": "STATUS",
        "alert_value": "DOWN",
        "includes_worse": False,
        "window_minutes": 0,
        "failure_threshold": 3,
        "success_threshold": 2,
        "unit": "CHECKS",
        "severity": "WARNING",
        "description": "",
        "create_incident": False,
        "incident_severity": None,
        "cooldown_seconds": None,
        "reopen_seconds": None,
        "repeat_minutes": 0,
        "is_active": True,
        "triggers": [trigger.pk],
    }


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (
            {"alert_for": "LATENCY", "alert_value": "fast"},
            {"alert_value": ["Give milliseconds, 0.001 to 1,800,000."]},
        ),
        (
            {"alert_for": "LATENCY", "alert_value": "1", "window_minutes": 2000},
            {"window_minutes": ["Give at most 1,440 minutes for a latency."]},
        ),
        (
            {"alert_for": "UPTIME", "alert_value": "101"},
            {"alert_value": ["Give a percentage, 0.001 to 100."]},
        ),
        (
            {"includes_worse": True},
            {
                "includes_worse": [
                    "Only a rule on STATUS DEGRADED can be met by DOWN, too."
                ]
            },
        ),
        (
            {"labels": ["vip"]},
            {"labels": ["There is no label vip. POST to /api/v1/labels/ to add it."]},
        ),
        (
            {"incident_severity": "huge"},
            {"incident_severity": ['"huge" is not a valid choice.']},
        ),
        ({"alert_value": "UP"}, {"alert_value": ["Choose DOWN or DEGRADED, not UP."]}),
        (
            {"monitors": ["shop", "barn", "mill"]},
            {"monitors": ["There is no monitor barn, mill."]},
        ),
        (
            {"monitors": []},
            {"monitors": ["Name a monitor or a label, or set watches_all."]},
        ),
        ({"triggers": [77]}, {"triggers": ["There is no trigger 77."]}),
        (
            {"triggers": [10**40]},
            {
                "triggers": {
                    "0": [
                        "Ensure this value is less than or equal to "
                        "9223372036854775807."
                    ]
                }
            },
        ),
        (
            {"failure_threshold": 0},
            {"failure_threshold": ["Ensure this value is greater than or equal to 1."]},
        ),
    ],
)
def test_unfit_rule_is_refused_by_field(api, make_monitor, change, errors):
    make_monitor("shop")

    answer = api.post("/api/v1/alert-rules/", {**RULE, **change})

    assert answer.status_code == 400
    assert answer.json()["errors"] == errors
    assert not AlertRule.objects.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"alert_value": "DEGRADED"}, "The rule was changed."),
        ({"monitors": ["bank"]}, "The monitor was removed from the rule."),
        ({"is_active": False}, "The rule was switched off."),
    ],
)
def test_change_that_ends_the_question_resolves_the_alert(
    api, make_monitor, make_rule, triggered, change, reason
):
    shop = make_monitor("shop")
    make_monitor("bank")
    rule = make_rule(shop)
    alert = triggered(rule, shop)

    answer = api.patch(f"/api/v1/alert-rules/{rule.pk}/", change)

    assert answer.status_code == 200
    assert answer.json().items() >= change.items()
    assert [t.reason for t in alert.transitions.filter(to="RESOLVED")] == [reason]


def test_rule_of_every_field_is_answered_as_it_was_given(api, make_monitor):
    make_monitor("shop")
    Label.objects.create(name="payments")
    given = {
        "name": "Slow",
        "monitors": [],
        "labels": ["payments"],
        "watches_all": False,
        "alert_for": "LATENCY",
        "alert_value": "800",
        "window_minutes": 10,
        "unit": "SECONDS",
        "failure_threshold": 120,
        "incident_severity": "major",
        "cooldown_seconds": 900,
        "reopen_seconds": 0,
        "repeat_minutes": 30,
    }

    answer = api.post("/api/v1/alert-rules/", given)

    assert answer.status_code == 201
    assert answer.json().items() >= given.items()
    assert AlertRule.objects.get().incident_severity == 2


def test_leaving_a_label_resolves_what_it_watched(
    api, make_monitor, make_rule, triggered
):
    shop, label = make_monitor("shop"), Label.objects.create(name="payments")
    shop.label([label])
    rule = make_rule()
    rule.watch([], [label])
    triggered(rule, shop)

    changed = api.patch(f"/api/v1/alert-rules/{rule.pk}/", {"watches_all": True})
    still_open = Alert.objects.triggered().count()
    api.patch(f"/api/v1/alert-rules/{rule.pk}/", {"labels": []})
    bank = make_monitor("bank")
    api.patch(
        f"/api/v1/alert-rules/{rule.pk}/", {"watches_all": False, "monitors": ["bank"]}
    )

    assert changed.json()["labels"] == ["payments"]
    assert still_open == 1
    assert list(AlertRule.objects.get().watched()) == [bank]
    assert not Alert.objects.triggered().exists()


def test_rule_cannot_be_left_without_anything_to_watch(api, make_monitor, make_rule):
    rule = make_rule(make_monitor("shop"))
    address = f"/api/v1/alert-rules/{rule.pk}/"

    assert api.patch(address, {"monitors": []}).status_code == 400
    assert api.patch(address, {"watches_all": False}).status_code == 200
    assert api.patch(address, {"monitors": [], "watches_all": True}).status_code == 200


def test_new_thresholds_leave_the_alert_open(api, make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    triggered(rule, shop)

    api.patch(f"/api/v1/alert-rules/{rule.pk}/", {"failure_threshold": 9})

    assert Alert.objects.triggered().count() == 1


def test_rule_switched_on_counts_from_zero(api, make_monitor, make_rule):
    rule = make_rule(make_monitor("shop"), is_active=False)

    answer = api.patch(f"/api/v1/alert-rules/{rule.pk}/", {"is_active": True})

    assert answer.json()["is_active"] is True
    assert AlertRule.objects.get().counts_from > rule.counts_from


def test_deleted_rule_is_retired(api, make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)

    assert api.delete(f"/api/v1/alert-rules/{rule.pk}/").status_code == 204
    assert api.get(f"/api/v1/alert-rules/{rule.pk}/").status_code == 404
    alert.refresh_from_db()
    assert (alert.state, alert.rule) == (Alert.State.RESOLVED, rule)


def test_retired_monitor_is_no_longer_shown(api, make_monitor, make_rule):
    rule = make_rule(make_monitor("shop"), make_monitor("bank"))

    api.delete("/api/v1/monitors/shop/")

    shown = api.get(f"/api/v1/alert-rules/{rule.pk}/").json()
    assert shown["monitors"] == ["bank"]


def test_alert_is_shown_with_the_values_of_its_time(
    api, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    rule = make_rule(shop, severity="CRITICAL")
    alert = triggered(rule, shop)
    alert.link(number=7, path="/incidents/7/")

    shown = api.get(f"/api/v1/alerts/{alert.pk}/").json()

    assert (
        shown.items()
        >= {
            "id": alert.pk,
            "rule": rule.pk,
            "rule_name": "Down for three checks",
            "monitor": "shop",
            "state": "TRIGGERED",
            "severity": "CRITICAL",
            "alert_for": "STATUS",
            "alert_value": "DOWN",
            "failure_threshold": 3,
            "resolved_at": None,
            "incident": 7,
        }.items()
    )


def test_alerts_are_filtered(api, make_monitor, make_rule, triggered):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    rule = make_rule(shop, bank)
    first, second = triggered(rule, shop), triggered(rule, bank)
    api.post(f"/api/v1/alerts/{first.pk}/resolve/")
    api.patch("/api/v1/monitors/bank/", {"tag": "vault"})

    def ids(query):
        found = api.get(f"/api/v1/alerts/?{query}").json()["results"]
        return [alert["id"] for alert in found]

    assert ids("") == [second.pk, first.pk]
    assert ids("monitor=shop") == [first.pk]
    assert ids("monitor=bank") == ids("monitor=vault") == [second.pk]
    assert ids("state=TRIGGERED") == [second.pk]
    assert ids(f"rule={rule.pk}") == [second.pk, first.pk]
    assert api.get("/api/v1/alerts/?state=ASLEEP").status_code == 400
    assert api.get("/api/v1/alerts/?rule=77").status_code == 400


def test_resolving_by_hand_twice_changes_nothing(
    api, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)

    once = api.post(f"/api/v1/alerts/{alert.pk}/resolve/")
    twice = api.post(f"/api/v1/alerts/{alert.pk}/resolve/")

    assert once.json()["state"] == "RESOLVED"
    assert twice.json() == once.json()
    assert [t.to for t in alert.transitions.all()] == ["TRIGGERED", "RESOLVED"]


def test_alerts_cannot_be_written(api):
    assert api.post("/api/v1/alerts/", {}).status_code == 405


def test_rules_need_the_same_queries_for_any_number(
    api, make_monitor, make_rule, make_trigger
):
    shop, trigger = make_monitor("shop"), make_trigger(url="http://127.0.0.1:9/")
    make_rule(shop, triggers=[trigger])
    api.get("/api/v1/alert-rules/")
    with CaptureQueriesContext(connection) as one:
        api.get("/api/v1/alert-rules/")
    for _ in range(29):
        make_rule(shop, triggers=[trigger])

    with CaptureQueriesContext(connection) as thirty:
        answer = api.get("/api/v1/alert-rules/")

    assert len(answer.json()["results"]) == 30
    assert len(thirty) == len(one) == 5


def test_alerts_need_the_same_queries_for_any_number(
    api, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    triggered(make_rule(shop), shop)
    api.get("/api/v1/alerts/")
    with CaptureQueriesContext(connection) as one:
        api.get("/api/v1/alerts/")
    for _ in range(29):
        triggered(make_rule(shop), shop)

    with CaptureQueriesContext(connection) as thirty:
        answer = api.get("/api/v1/alerts/")

    assert len(answer.json()["results"]) == 30
    assert len(thirty) == len(one) == 2


def test_new_triggers_hear_that_the_rule_was_changed(
    api, make_monitor, make_rule, make_trigger, triggered
):
    shop, target = make_monitor("shop"), make_trigger(url="http://127.0.0.1:9/")
    rule = make_rule(shop)
    triggered(rule, shop)

    change = {"triggers": [target.pk], "alert_value": "DEGRADED"}
    api.patch(f"/api/v1/alert-rules/{rule.pk}/", change)

    assert [message.trigger for message in Message.objects.all()] == [target]
