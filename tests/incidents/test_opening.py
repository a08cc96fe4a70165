from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert, AlertRule, Decision
from incidents import opening, tasks
from incidents.models import Impact, Incident, Refused, State
from incidents.receivers import close_incident, open_incident, reopen_incidents
from monitors.models import Monitor, MonitorState, Overlay
from outbox.models import Message

from .story import NOW, announce, end, minutes, recover

pytestmark = pytest.mark.django_db


def decided():
    found = Decision.objects.order_by("pk")
    return list(found.values_list("gate", "verdict", "count"))


@pytest.fixture
def again(make_alert):
    """Announce one more alert of the same rule and monitor."""
    first = []

    def again(began_at=NOW, **more):
        if first:
            more = {"monitor": first[0].monitor, "rule": first[0].rule}
        alert = make_alert(began_at=began_at, **more)
        first.append(alert)
        announce(alert)
        return alert

    return again


def look_again(at):
    with time_machine.travel(at, tick=False):
        tasks.sweep.run()


# Duplicates


def test_two_announcers_at_once_open_one_incident_of_a_rule_and_monitor(
    transactional_db, make_alert, at_once
):
    # The place is held by the database, whoever looks first.
    first = make_alert()
    end(first, minutes(3))
    second = make_alert(first.monitor, first.rule, began_at=minutes(4))

    at_once(*[lambda: announce(first)] * 2, *[lambda: announce(second)] * 2)

    assert Incident.objects.count() == 1
    assert Refused.objects.get().gate == "duplicate"


def test_database_holds_one_open_incident_per_rule_and_monitor(again):
    alert = again()

    with pytest.raises(IntegrityError):
        Incident.open_for(alert, at=NOW)


def test_two_rules_on_one_monitor_make_two_incidents(make_alert):
    alert = make_alert()
    announce(alert)
    announce(make_alert(alert.monitor))

    assert Incident.objects.open().count() == 2
    assert not Decision.objects.exists()


def test_duplicate_opens_once_the_other_is_resolved(again):
    recover(again(), minutes(5))
    first = Incident.objects.get()
    first.update(state=State.IDENTIFIED, body="It is not over.", at=minutes(6))

    alert = again(minutes(7))
    assert Incident.objects.count() == 1
    assert decided() == [("duplicate", "REFUSED", 1)]

    look_again(minutes(20))
    assert decided() == [("duplicate", "REFUSED", 1)], "the same is not said twice"
    assert Refused.objects.get().attempts == 2

    first.update(state=State.RESOLVED, body="Now it is.", at=minutes(21))
    look_again(minutes(30))
    assert alert.incident_links.incident != first
    assert not Refused.objects.exists()


def test_old_one_reopened_by_hand_leaves_the_place_to_the_newer(again):
    recover(again(), minutes(5))
    old = Incident.objects.get()
    again(minutes(10))

    old.update(state=State.INVESTIGATING, body="That, too.", at=minutes(20))

    assert Incident.objects.open().count() == 2


# Reopen window and cooldown


def test_failing_again_within_the_window_reopens_the_last_one(again, set_up, heard):
    set_up(reopen_seconds=600, cooldown_seconds=900)
    first = again()
    recover(first, minutes(5))

    second = again(minutes(9))

    incident = Incident.objects.get()
    assert incident.state == State.INVESTIGATING
    assert {link.alert for link in incident.alert_links.all()} == {first, second}
    assert "fails again, 4 minutes after" in incident.updates.first().plain
    assert incident.impacts.get(ended_at=None).started_at == minutes(9)
    assert Overlay.objects.get(ended_at=None).started_at == minutes(9)
    assert Alert.objects.get(pk=second.pk).incident_path == incident.path
    assert decided() == [("reopen", "REOPENED", 1)]
    assert heard == ["published", "resolved", "reopened"]

    recover(second, minutes(20))
    incident.refresh_from_db()
    assert (incident.state, incident.ended_at) == (State.RESOLVED, minutes(20))


def test_rule_has_the_last_word_on_window_and_cooldown(again, set_up):
    set_up(reopen_seconds=600, cooldown_seconds=900)
    recover(again(reopen_seconds=0, cooldown_seconds=0), minutes(5))

    again(minutes(6))

    assert Incident.objects.count() == 2


def test_cooldown_refuses_and_opens_when_it_is_over(again, set_up):
    set_up(cooldown_seconds=900)
    recover(again(), minutes(5))

    alert = again(minutes(7))
    refused = Refused.objects.get()
    assert (refused.gate, refused.due_at) == ("cooldown", minutes(20))
    assert "the cooldown is 15 minutes" in Decision.objects.get().reason

    look_again(minutes(19))
    assert Incident.objects.count() == 1

    look_again(minutes(20))
    incident = alert.incident_links.incident
    assert (incident.started_at, incident.created_at) == (minutes(7), minutes(20))
    assert not Refused.objects.exists()


def test_cooldown_is_of_a_rule_and_monitor(make_alert, set_up):
    set_up(cooldown_seconds=900)
    first = make_alert()
    announce(first)
    recover(first, minutes(5))

    announce(make_alert(first.monitor, began_at=minutes(6)))

    assert Incident.objects.count() == 2


def test_what_recovers_while_refused_opens_nothing(again, set_up):
    set_up(cooldown_seconds=900)
    recover(again(), minutes(5))

    recover(again(minutes(7)), minutes(10))
    look_again(minutes(30))

    assert Incident.objects.count() == 1
    assert not Refused.objects.exists()


def test_refused_alert_that_is_withheld_meanwhile_waits_on(again, set_up):
    set_up(cooldown_seconds=900)
    recover(again(), minutes(5))
    alert = again(minutes(7))
    Alert.objects.filter(pk=alert.pk).update(withheld="maintenance")

    look_again(minutes(30))
    assert Refused.objects.get().due_at > minutes(30)

    Alert.objects.filter(pk=alert.pk).update(withheld="")
    look_again(minutes(40))
    assert Incident.objects.count() == 2


def test_two_sweeps_at_once_open_one_incident(transactional_db, again, set_up, at_once):
    set_up(cooldown_seconds=900)
    recover(again(), minutes(5))
    again(minutes(7))
    refused = Refused.objects.get()

    at_once(*[lambda: opening.look_again(refused, at=minutes(30))] * 3)

    assert Incident.objects.count() == 2
    assert not Refused.objects.exists()


def test_other_settings_are_looked_at_at_once(again, set_up):
    set_up(cooldown_seconds=900)
    recover(again(), minutes(5))
    again(minutes(7))

    set_up(cooldown_seconds=0)

    assert Refused.objects.get().due_at <= timezone.now()


# Quota


def test_quota_refuses_loudly_and_opens_next_month(
    make_monitor, make_alert, set_up, make_trigger
):
    set_up(monthly_quota=1, tell=[make_trigger(url="http://127.0.0.1:9/")])
    announce(make_alert(make_monitor("a")))
    announce(make_alert(make_monitor("b")))
    late = make_alert(make_monitor("c"))
    announce(late)

    assert Incident.objects.count() == 1
    assert decided() == [("quota", "REFUSED", 1)] * 2
    message = Message.objects.get(renderer="quota")
    assert "quota" in message.dedup_key

    look_again(Refused.objects.first().due_at)
    assert Incident.objects.count() == 2, "the new month has one, too"


def test_manual_incidents_do_not_use_up_the_quota(make_alert, set_up):
    set_up(monthly_quota=1)
    Incident.open(title="x", summary="y", started_at=NOW, at=NOW, source="API")

    announce(make_alert())

    assert Incident.objects.automatic().count() == 1


# Storms


@pytest.fixture
def fail(make_monitor, make_alert, make_rule):
    """Have monitors begin to fail at a moment; return their alerts, untold."""

    def fail(*tags, began_at=NOW, **more):
        alerts = []
        for tag in tags:
            monitor = make_monitor(tag)
            alerts.append(make_alert(monitor, began_at=began_at, **more))
            states = MonitorState.objects.filter(pk=monitor.pk)
            states.update(failing_since=began_at, status="down")
        return alerts

    return fail


@pytest.fixture
def storm(set_up, fail):
    """Three of three monitors that fail at once, where two are a storm."""
    set_up(storm_at_least=2)
    alerts = fail("a", "b", "c")
    for alert in alerts:
        announce(alert)
    return alerts


def test_storm_is_one_draft_that_publishes_itself(storm, heard):
    umbrella = Incident.objects.get()

    assert umbrella.is_draft
    assert umbrella.publish_at - umbrella.created_at == timedelta(minutes=5)
    assert umbrella.title == "3 services are failing"
    assert {i.monitor.tag for i in umbrella.impacts.all()} == {"a", "b", "c"}
    assert umbrella.alert_links.count() == 3
    assert decided() == [("storm", "JOINED", 1)] * 3
    assert not Overlay.objects.exists()
    assert heard == []


def test_storm_switched_off_leaves_each_its_own(set_up, fail):
    set_up(storm_at_least=2, gathers_storms=False)

    for alert in fail("a", "b", "c"):
        announce(alert)

    assert Incident.objects.count() == 3


def test_too_few_are_no_storm(set_up, fail):
    for alert in fail("a", "b", "c"):
        announce(alert)

    assert Incident.objects.count() == 3


def test_alert_that_begins_soon_after_the_newest_joins(storm, fail):
    for seconds in (50, 100):
        (late,) = fail(f"m{seconds}", began_at=NOW + timedelta(seconds=seconds))
        announce(late)

    assert Incident.objects.get().title == "5 services are failing"


def test_later_trouble_has_its_own_incident(storm, fail):
    (late,) = fail("late", began_at=minutes(30))

    announce(late)

    assert Incident.objects.filter(is_umbrella=False).get().title == "Late STATUS: DOWN"


def test_title_that_somebody_wrote_stays(storm, fail):
    Incident.objects.get().revise(at=NOW, title="The network is down")
    (late,) = fail("late")

    announce(late)

    assert Incident.objects.get().title == "The network is down"


def test_storm_is_as_severe_as_its_worst_alert(set_up, fail):
    set_up(storm_at_least=2)

    for alert in [*fail("a", "b"), *fail("c", severity="CRITICAL")]:
        announce(alert)

    assert Incident.objects.get().severity == Incident.Severity.CRITICAL


def test_storm_ends_with_its_last_alert(storm, heard):
    umbrella = Incident.objects.get()
    umbrella.publish(at=minutes(3))
    for alert in storm[:2]:
        recover(alert, minutes(10))
    assert Incident.objects.open().get().impacts.filter(ended_at=None).count() == 1

    recover(storm[2], minutes(20))

    umbrella.refresh_from_db()
    assert (umbrella.state, umbrella.ended_at) == (State.RESOLVED, minutes(20))
    assert umbrella.updates.first().body == (
        "All of the 3 services pass their checks again, Total duration: 20 minutes"
    )
    assert heard[-1] == "resolved"


def test_one_that_fails_again_in_the_storm_stays_in_it(storm, make_alert):
    recover(storm[0], minutes(10))

    again = make_alert(storm[0].monitor, storm[0].rule, began_at=minutes(15))
    announce(again)

    umbrella = Incident.objects.get()
    assert umbrella.title == "3 services are failing"
    assert umbrella.impacts.filter(monitor=again.monitor, ended_at=None).exists()


def test_storm_is_told_at_once_to_triggers_and_owners_once(
    set_up, fail, make_trigger, django_user_model
):
    owner = get_user_model().objects.create_user("eve", "eve@example.org")
    trigger = make_trigger(url="http://127.0.0.1:9/")
    set_up(storm_at_least=2, tell=[trigger])
    alerts = fail("a", "b", "c")
    Monitor.objects.update(owner=owner)

    for alert in alerts:
        announce(alert)

    told = Message.objects.filter(renderer="storm").order_by("pk")
    assert [(m.trigger, m.destination) for m in told] == [
        (trigger, ""),
        (None, "eve@example.org"),
    ]


def test_two_announcers_of_a_storm_open_one_umbrella(
    transactional_db, set_up, fail, at_once
):
    set_up(storm_at_least=2)
    alerts = fail("a", "b", "c", "d")

    at_once(*[lambda alert=alert: announce(alert) for alert in alerts])

    umbrella = Incident.objects.get()
    assert umbrella.alert_links.count() == 4
    assert umbrella.title == "4 services are failing"


# Breaker


def test_breaker_makes_drafts_that_wait_and_tells_the_owner_once_a_day(again, set_up):
    set_up(breaker_a_day=2, auto_publish_after=60)
    owner = get_user_model().objects.create_user("eve", "eve@example.org")
    first = again()
    Monitor.objects.update(owner=owner)
    recover(first, minutes(5))
    for n in (10, 20, 30):
        recover(again(minutes(n)), minutes(n + 5))

    visible = Incident.objects.order_by("pk").values_list("published_at", "publish_at")
    assert [published is not None for published, _ in visible] == [
        True,
        True,
        False,
        False,
    ]
    assert [publish_at for _, publish_at in visible] == [None] * 4
    assert Message.objects.get(renderer="breaker").destination == "eve@example.org"
    assert ("breaker", "DRAFTED", 1) in decided()


def test_breaker_forgets_after_a_day(again, set_up):
    set_up(breaker_a_day=1)
    recover(again(), minutes(5))

    again(NOW + timedelta(days=1, minutes=1))

    assert Incident.objects.published().count() == 2


def test_breaker_without_an_owner_tells_the_triggers(again, set_up, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    set_up(breaker_a_day=1, tell=[trigger])
    recover(again(), minutes(5))

    again(minutes(10))

    assert Message.objects.get(renderer="breaker").trigger == trigger


# Severity, badge, impact


@pytest.mark.parametrize(
    ("of_monitor", "of_rule", "of_source", "alert", "expected"),
    [
        (None, None, {}, "WARNING", 1),
        (None, None, {}, "CRITICAL", 3),
        (None, None, {"Uptime": 2}, "CRITICAL", 2),
        (None, None, {"Heartbeat": 2}, "CRITICAL", 3),
        (None, 1, {"Uptime": 2}, "CRITICAL", 1),
        (2, 1, {"Uptime": 3}, "CRITICAL", 2),
    ],
)
def test_severity_is_said_by_monitor_rule_source_or_alert(
    of_monitor, of_rule, of_source, alert, expected, make_monitor, make_alert, set_up
):
    set_up(source_severities=of_source)
    monitor = make_monitor(incident_severity=of_monitor)

    announce(make_alert(monitor, incident_severity=of_rule, severity=alert))

    assert Incident.objects.get().severity == expected


def test_badge_says_who_opened_it(make_alert):
    announce(make_alert())
    manual = {"title": "x", "summary": "y", "started_at": NOW, "at": NOW}
    Incident.open(**manual, source="API")
    Incident.open(**manual, source="DASHBOARD")

    badges = Incident.objects.order_by("pk").values_list("badge", flat=True)
    assert list(badges) == ["Auto: Uptime", "API", ""]


@pytest.mark.parametrize(
    ("kind", "value", "level"),
    [
        ("STATUS", "DOWN", "DOWN"),
        ("STATUS", "DEGRADED", "DEGRADED"),
        ("LATENCY", "1000", "DOWN"),
        ("UPTIME", "99.9", "DOWN"),
        ("CERT_DAYS", "14", "DEGRADED"),
        ("BURN_RATE", "14.4", "DEGRADED"),
    ],
)
def test_no_kind_of_alert_leaves_an_orphan_without_impact(
    kind, value, level, make_alert
):
    alert = make_alert()
    Alert.objects.filter(pk=alert.pk).update(alert_for=kind, alert_value=value)
    alert.refresh_from_db()

    announce(alert)
    recover(alert, minutes(9))

    incident = Incident.objects.get()
    assert incident.title == f"Shop {kind}: {value}"
    assert incident.impacts.get().level == level
    assert incident.state == State.RESOLVED
    assert alert.incident_links.incident == incident
    assert Impact.level_of(alert) == level


def test_update_back_dated_before_the_beginning_resolves_it_all_the_same(again):
    again()
    incident = Incident.objects.get()
    incident.updates.all().delete()

    incident.update(state=State.RESOLVED, body="Before it began.", at=minutes(-30))

    assert (incident.state, incident.ended_at) == (State.RESOLVED, NOW)


def test_alert_has_the_address_of_its_incident(again):
    alert = again()

    alert.refresh_from_db()
    incident = Incident.objects.get()
    assert (alert.incident_number, alert.incident_path) == (incident.pk, incident.path)


def test_resolved_by_a_removal_says_why(again):
    alert = again()

    close_incident(
        alert=alert,
        transition=end(alert, minutes(5), "The monitor was paused.", False),
    )

    assert "The monitor was paused." in Incident.objects.get().updates.first().body


def test_resolved_by_hand_goes_on_at_the_next_failing_check(again):
    alert = again()
    Incident.objects.get().update(state=State.RESOLVED, body="Done.", at=minutes(30))

    reopen_incidents(alerts=[alert], at=minutes(31))

    assert Incident.objects.open().get().alert_links.get().alert == alert


def test_retired_rule_leaves_no_gate_that_fails(make_alert):
    alert = make_alert()
    AlertRule.objects.all().delete()
    alert.refresh_from_db()

    announce(alert)

    assert Incident.objects.open().count() == 1


def test_opening_takes_few_statements(make_monitor, make_alert):
    announce(make_alert())
    alert = make_alert(make_monitor("other"))
    transition = alert.transitions.get()

    with CaptureQueriesContext(connection) as asked:
        open_incident(alert=alert, transition=transition)

    own = [q["sql"] for q in asked if "statuspages" not in q["sql"]]
    own = [sql for sql in own if "subscriptions" not in sql]
    assert Incident.objects.count() == 2
    assert len(own) <= 15, "\n".join(s[:230] for s in own)
