import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import tasks
from alerting.models import Alert, Decision, RuleState, Said
from alerting.why import why
from monitors.instants import whole
from monitors.models import MonitorState, Overlay

LIST = "/admin/alerting/decision/"


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def failing(monitor, status="down"):
    MonitorState.objects.filter(pk=monitor.pk).update(status=status, raw_status=status)
    monitor.state.refresh_from_db()


def counted(rule, monitor, **more):
    began = timezone.now() - timedelta(hours=1)
    RuleState.objects.create(rule=rule, monitor=monitor, counts_from=began, **more)


@pytest.fixture
def say(db):
    def say(rule, monitor, *, gate="cooldown", at=None, alert=None, **more):
        at = whole(at or timezone.now())
        reason = more.pop("reason", "An incident has just ended.")
        episode = more.pop("episode", at)
        pk = alert.pk if alert else None
        said = Said(rule.pk, monitor.pk, gate, episode, reason, at, alert_id=pk, **more)
        Decision.write([said])

    return say


# Why


def test_there_is_nothing_to_say_of_what_does_not_fail(make_monitor, make_rule):
    shop = make_monitor("shop")
    make_rule(shop)

    assert why(shop, timezone.now()) == []


def test_no_rule_watches_it(make_monitor):
    shop = make_monitor("shop")
    failing(shop)

    assert why(shop, timezone.now()) == ["No rule watches it"]


def test_a_paused_monitor_has_nothing_to_open(make_monitor):
    shop = make_monitor("shop")
    failing(shop)
    shop.pause(at=timezone.now())

    assert why(shop, timezone.now()) == []


def test_it_has_not_failed_often_enough(make_monitor, make_rule):
    shop = make_monitor("shop")
    counted(make_rule(shop), shop, failures=2)
    failing(shop)

    assert why(shop, timezone.now()) == ["It has failed 2 of 3 times in a row"]


def test_it_has_not_failed_long_enough(make_monitor, make_rule):
    shop = make_monitor("shop")
    began = timezone.now().replace(hour=14, minute=2, second=3)
    rule = make_rule(shop, unit="SECONDS", failure_threshold=120)
    counted(rule, shop, failures=2, first_failure_at=began)
    failing(shop)

    said = ["It has failed since 14:02:03 UTC, not yet 120 seconds"]
    assert why(shop, timezone.now()) == said


def test_its_rule_asks_for_something_else(make_monitor, make_rule):
    shop = make_monitor("shop")
    make_rule(shop)
    failing(shop, "degraded")

    [said] = why(shop, timezone.now())

    assert said.startswith("It asks for something else: STATUS is DOWN")


def test_its_rule_only_notifies(make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    triggered(make_rule(shop, create_incident=False), shop)
    failing(shop)

    assert why(shop, timezone.now()) == ["Its rule only notifies"]


def test_its_alert_is_held_back(make_monitor, make_rule, triggered, say):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)
    say(rule, shop, gate="flapping", reason="Flapping: 34 % changed", alert=alert)
    Alert.objects.update(withheld="flapping")
    failing(shop)

    assert why(shop, timezone.now()) == ["Held back: flapping: 34 % changed"]


def test_a_gate_has_refused_it(make_monitor, make_rule, triggered, say):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert, at = triggered(rule, shop), timezone.now()
    say(rule, shop, gate="duplicate", reason="Another is open", alert=alert, at=at)
    say(rule, shop, alert=alert, at=at + timedelta(seconds=1))
    failing(shop)

    assert why(shop, timezone.now()) == ["An incident has just ended."]


def test_it_is_just_being_opened(make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    triggered(make_rule(shop), shop)
    failing(shop)

    assert why(shop, timezone.now()) == ["Its incident is just being opened"]


def test_what_has_an_incident_needs_no_reason(make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    triggered(make_rule(shop), shop).link(number=7, path="/incidents/7/")
    failing(shop)

    assert why(shop, timezone.now()) == []


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (0, "Maintenance until 14:00 UTC"),
        (1, "Maintenance until 3 Mar 14:00 UTC"),
        (None, "Maintenance, which has no end yet"),
    ],
)
def test_maintenance_keeps_it_back(make_monitor, make_rule, days, said):
    shop = make_monitor("shop")
    make_rule(shop)
    failing(shop)
    at = timezone.now().replace(
        year=2026, month=3, day=2, hour=12, minute=0, second=0, microsecond=0
    )
    end = None if days is None else at + timedelta(days=days, hours=2)
    Overlay.objects.create(
        monitor=shop,
        kind="maintenance",
        status="maintenance",
        started_at=at - timedelta(hours=1),
        ended_at=end,
        cause="maintenance:1",
        holds_alerts=True,
    )

    assert why(shop, at) == [said]


def test_several_rules_are_named(make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    counted(make_rule(shop, name="A"), shop, failures=1)
    triggered(make_rule(shop, name="B", create_incident=False), shop)
    failing(shop)

    assert why(shop, timezone.now()) == [
        "A: it has failed 1 of 3 times in a row",
        "B: it only notifies",
    ]


def test_why_takes_six_queries_at_most(make_monitor, make_rule, triggered, say):
    shop = make_monitor("shop")
    for n in range(20):
        rule = make_rule(shop, name=f"Rule {n}")
        say(rule, shop, alert=triggered(rule, shop))
        counted(make_rule(shop, name=f"Other {n}"), shop, failures=1)
    failing(shop)

    fresh = type(shop).objects.get(pk=shop.pk)
    with CaptureQueriesContext(connection) as captured:
        assert len(why(fresh, timezone.now())) == 40

    assert len(captured) <= 6


def test_the_page_of_a_monitor_says_why_in_a_sentence(
    admin, make_monitor, make_rule, say
):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    counted(rule, shop, failures=2)
    failing(shop)
    say(rule, shop, gate="threshold", reason="Only 1 of 3 failures in a row")

    shown = text(admin.get(f"/admin/monitors/monitor/{shop.pk}/change/"))

    assert "Why was no incident opened?" in shown
    assert "It has failed 2 of 3 times in a row." in shown
    assert "Did not last Refused Only 1 of 3 failures in a row" in shown


@pytest.mark.parametrize("kind", ["alert", "alertrule"])
def test_the_pages_of_alert_and_rule_list_what_gates_have_said(
    admin, make_monitor, make_rule, triggered, say, kind
):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)
    say(rule, shop, alert=alert, times=3)
    pk = alert.pk if kind == "alert" else rule.pk

    shown = text(admin.get(f"/admin/alerting/{kind}/{pk}/change/"))

    assert "Cooldown Refused An incident has just ended." in shown


def test_why_is_told_over_the_api(api, make_monitor):
    shop = make_monitor("shop")
    failing(shop)

    answer = api.get("/api/v1/monitors/shop/why/")

    said = {"monitor": "shop", "status": "down", "reasons": ["No rule watches it"]}
    assert answer.json() == said
    assert api.get("/api/v1/monitors/nobody/why/").status_code == 404


# The list


def test_decisions_are_listed_and_filtered(admin, make_monitor, make_rule, say):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    rule = make_rule(shop, bank)
    say(rule, shop, reason="First reason")
    say(rule, bank, gate="unheard_of", reason="Second reason")

    assert "Unheard of" in text(admin.get(LIST))
    by_gate = text(admin.get(f"{LIST}?gate=cooldown"))
    by_monitor = text(admin.get(f"{LIST}?monitor__id__exact={bank.pk}"))
    assert ("First" in by_gate, "Second" in by_gate) == (True, False)
    assert "First reason" not in by_monitor
    assert admin.get(f"{LIST}add/").status_code == 403


def test_decisions_are_told_over_the_api(api, make_monitor, make_rule, triggered, say):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert, at = triggered(rule, shop), whole(timezone.now())
    say(rule, shop, alert=alert, at=at, times=2)
    say(rule, shop, gate="silence", at=at - timedelta(days=2))

    found = api.get("/api/v1/decisions/").json()["results"]

    first = found[0]
    assert first.pop("id") == Decision.objects.get(gate="cooldown").pk
    moment = at.isoformat().replace("+00:00", "Z")
    assert first == {
        "monitor": "shop",
        "rule": rule.pk,
        "gate": "cooldown",
        "verdict": "REFUSED",
        "reason": "An incident has just ended.",
        "at": moment,
        "first_at": moment,
        "count": 2,
        "alert": alert.pk,
    }


def test_decisions_are_filtered_over_the_api(api, make_monitor, make_rule, say):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    rule, other, at = make_rule(shop), make_rule(bank), timezone.now()
    say(rule, shop)
    say(other, bank, gate="silence", at=at - timedelta(days=2))

    def gates(**query):
        found = api.get("/api/v1/decisions/", query)
        assert found.status_code == 200, found.json()
        return [decision["gate"] for decision in found.json()["results"]]

    assert gates() == ["cooldown", "silence"]
    assert gates(monitor="bank") == ["silence"]
    assert gates(rule=rule.pk) == ["cooldown"]
    assert gates(gate="silence") == ["silence"]
    assert gates(since=(at - timedelta(days=1)).isoformat()) == ["cooldown"]
    assert api.get("/api/v1/decisions/?verdict=PERHAPS").status_code == 400


def test_pages_of_decisions_follow_each_other(api, make_monitor, make_rule, say):
    shop = make_monitor("shop")
    rule, at = make_rule(shop), timezone.now()
    for n in range(5):
        say(rule, shop, at=at - timedelta(milliseconds=n))

    address, seen = "/api/v1/decisions/?page_size=2", []
    while address:
        page = api.get(address).json()
        seen += [decision["id"] for decision in page["results"]]
        address = page["next"]

    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize("path", [LIST, "/api/v1/decisions/"])
def test_lists_need_the_same_queries_for_any_number(
    admin, api, make_monitor, make_rule, triggered, say, path
):
    client = admin if path.startswith("/admin") else api
    shop, at = make_monitor("shop"), timezone.now()

    def fill(n):
        rule = make_rule(shop)
        alert = triggered(rule, shop)
        say(rule, shop, alert=alert, at=at - timedelta(seconds=n))

    fill(0)
    client.get(path)
    with CaptureQueriesContext(connection) as one:
        client.get(path)
    for n in range(29):
        fill(n)

    with CaptureQueriesContext(connection) as thirty:
        assert client.get(path).status_code == 200

    assert len(thirty) == len(one)


def test_old_decisions_are_pruned_in_chunks(
    make_monitor, make_rule, say, settings, monkeypatch
):
    monkeypatch.setattr(tasks, "PRUNED_AT_ONCE", 2)
    settings.DECISION_RETENTION_DAYS = 90
    shop = make_monitor("shop")
    rule, at = make_rule(shop), timezone.now()
    for n in range(5):
        say(rule, shop, at=at - timedelta(days=91, seconds=n))
    say(rule, shop, at=at - timedelta(days=89))

    tasks.prune.run()

    kept = Decision.objects.get()
    assert at - kept.last_at < timedelta(days=90)
