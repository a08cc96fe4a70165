"""Rules tried on the past: what would have become of their alerts, and the API."""

from datetime import timedelta

import pytest
from django.utils import timezone

from access.models import ApiKey
from alerting import simulation
from alerting.models import Alert, AlertRule
from alerting.simulation import simulate
from incidents.models import Automation, Incident
from incidents.simulation import incidents_of
from monitors.instants import instant, ms
from monitors.models import CheckResult, Label

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ADDRESS = "/api/v1/alert-rules/simulate/"
RULE = {"monitors": ["shop"], "create_incident": True, "failure_threshold": 3}

pytestmark = pytest.mark.django_db


@pytest.fixture
def now():
    return instant(ms(timezone.now()))


@pytest.fixture
def write(now):
    """Write results a minute apart, the last of them a minute ago."""

    def write(monitor, letters):
        names = {"u": "up", "d": "down"}
        moments = [now - (len(letters) - n) * MINUTE for n in range(len(letters))]
        CheckResult.objects.bulk_create(
            CheckResult(monitor=monitor, checked_at=at, status=names[letter])
            for at, letter in zip(moments, letters, strict=True)
        )
        return moments

    return write


@pytest.fixture
def tried(make_monitor, write, now):
    """Try a rule on a shop whose results are these letters."""

    def tried(letters, **more):
        shop = make_monitor("shop")
        at = write(shop, letters)
        more = {"create_incident": True, "failure_threshold": 3, **more}
        return at, simulate(AlertRule(**more), [shop], now - DAY, now)

    return tried


def spans(found, at):
    """From which result until which there was an incident."""
    places = {moment: n for n, moment in enumerate(at)}
    return [(places[i.started_at], places.get(i.ended_at)) for i in found.incidents]


TWICE = "u" * 5 + "dddd" + "u" * 26 + "dddd" + "u" * 6


def test_every_alert_makes_an_incident(tried):
    at, found = tried(TWICE)

    assert spans(found, at) == [(5, 10), (35, 40)]
    assert [decision.gate for decision in found.decisions] == []


def test_a_rule_that_only_notifies_makes_none(tried):
    _, found = tried(TWICE, create_incident=False)

    assert len(found.alerts) == 2
    assert found.incidents == []


def test_the_last_incident_is_opened_again(tried):
    at, found = tried(TWICE, reopen_seconds=3600)

    assert spans(found, at) == [(5, 40)]
    [again] = found.decisions
    assert (again.gate, again.verdict) == ("reopen", "REOPENED")
    assert "25 minutes" in again.reason


def test_the_cooldown_refuses_what_is_over_before_it(tried):
    at, found = tried(TWICE, cooldown_seconds=3600)

    assert spans(found, at) == [(5, 10)]
    [refused] = found.decisions
    assert (refused.gate, refused.verdict) == ("cooldown", "REFUSED")


def test_what_still_fails_after_the_cooldown_has_its_incident(tried):
    at, found = tried(TWICE[:-6] + "dddd", cooldown_seconds=29 * 60)

    assert spans(found, at) == [(5, 10), (35, None)]
    assert [decision.gate for decision in found.decisions] == ["cooldown"]


def test_the_usual_limits_hold_where_a_rule_says_nothing(tried):
    Automation(cooldown_seconds=3600).save()

    _, found = tried(TWICE)
    assert len(found.incidents) == 1


def test_a_rule_may_ask_for_no_cooldown(tried):
    Automation(cooldown_seconds=3600).save()

    _, found = tried(TWICE, cooldown_seconds=0)
    assert len(found.incidents) == 2


def test_what_nobody_is_told_of_makes_no_incident(tried):
    _, found = tried("u" * 25 + "du" * 6 + "dddd" + "uu")

    assert len(found.alerts) == 1
    assert found.incidents == []


def test_whoever_simulates_asks_for_incidents():
    assert incidents_of in simulation._followers


# Over the API


@pytest.fixture
def shop(make_monitor, write):
    shop = make_monitor("shop")
    write(shop, TWICE)
    return shop


def test_a_rule_is_tried_over_the_api(api, shop):
    answer = api.post(ADDRESS, RULE)

    assert answer.status_code == 200
    body = answer.json()
    assert [a["monitor"] for a in body["alerts"]] == ["shop", "shop"]
    assert body["alerts"][0].keys() >= {"triggered_at", "resolved_at"}
    assert body["incidents"][0].keys() == {"monitor", "started_at", "ended_at"}
    assert body["results"] == len(TWICE)
    assert body["counts"] == {"alerts": 2, "incidents": 2, "decisions": 0}
    assert body["data_from"] is not None
    assert not AlertRule.objects.exists()
    assert not Alert.objects.exists()
    assert not Incident.objects.exists()


def test_the_newest_are_listed_and_all_are_counted(api, shop, monkeypatch):
    monkeypatch.setattr(simulation, "MOST_TOLD", 1)

    body = api.post(ADDRESS, RULE).json()

    assert (len(body["alerts"]), len(body["incidents"])) == (1, 1)
    assert body["counts"]["alerts"] == 2


def test_decisions_say_why(api, shop):
    body = api.post(ADDRESS, {**RULE, "failure_threshold": 5}).json()

    assert (body["alerts"], body["incidents"]) == ([], [])
    first = body["decisions"][0]
    assert first.keys() >= {"monitor", "gate", "verdict", "reason", "at"}
    assert (first["gate"], first["verdict"]) == ("threshold", "REFUSED")


def test_the_time_is_seven_days_unless_it_is_given(api, shop, now):
    usual = api.post(ADDRESS, RULE).json()
    told = {"from": (now - 20 * MINUTE).isoformat(), "to": now.isoformat()}
    given = api.post(ADDRESS, {**RULE, **told}).json()

    begin, end = (timezone.datetime.fromisoformat(usual[n]) for n in ("from", "to"))
    assert end - begin == 7 * DAY
    assert len(given["alerts"]) == 1


def test_changes_are_tried_over_the_saved_rule(api, shop, make_rule):
    rule = make_rule(shop)
    address = f"/api/v1/alert-rules/{rule.pk}/simulate/"

    as_it_is = api.post(address, {}).json()
    changed = api.post(address, {"failure_threshold": 5}).json()

    assert (len(as_it_is["alerts"]), len(changed["alerts"])) == (2, 0)
    rule.refresh_from_db()
    assert rule.failure_threshold == 3


def test_monitors_are_found_by_label_and_all(api, shop, make_monitor, make_rule):
    make_monitor("bank")
    shop.label([Label.objects.create(name="payments")])
    rule = make_rule()
    rule.watch([], [Label.objects.get()])
    address = f"/api/v1/alert-rules/{rule.pk}/simulate/"

    labelled = {**RULE, "monitors": [], "labels": ["payments"]}
    everything = {"watches_all": True}

    assert len(api.post(ADDRESS, labelled).json()["alerts"]) == 2
    assert len(api.post(ADDRESS, everything).json()["alerts"]) == 2
    assert len(api.post(address, {}).json()["alerts"]) == 2
    only_bank = {"labels": [], "monitors": ["bank"]}
    assert api.post(address, only_bank).json()["alerts"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"monitors": ["barn"]}, "monitors"),
        ({"monitors": []}, "monitors"),
        ({"alert_value": "BOGUS"}, "alert_value"),
        ({"failure_threshold": 0}, "failure_threshold"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "9999-01-02T00:00:00Z"}, "from"),
        ({"until": "2026-01-02T00:00:00Z"}, "until"),
        ({"id": 3}, "id"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_field(api, shop, change, field):
    answer = api.post(ADDRESS, {**RULE, **change})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]


def test_more_than_can_be_tried_at_once_is_refused(api, shop, monkeypatch):
    monkeypatch.setattr(simulation, "MOST_RESULTS", 10)

    answer = api.post(ADDRESS, RULE)

    assert answer.status_code == 400
    assert "more than 10 results" in answer.json()["errors"]["from"][0]


def test_unknown_and_retired_rules_are_not_tried(api, shop, make_rule):
    rule = make_rule(shop)
    rule.retire(at=timezone.now())

    address = f"/api/v1/alert-rules/{rule.pk}/simulate/"
    assert api.post(address, {}).status_code == 404
    assert api.get(ADDRESS).status_code == 405


def test_trying_needs_the_scope_of_rules(api, shop):
    key = ApiKey(name="other", scopes=["monitors:write"]).issue()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")

    assert api.post(ADDRESS, RULE).status_code == 403
