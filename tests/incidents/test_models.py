import pytest

from alerting.models import Alert, AlertRule, Decision, Transition
from alerting.signals import alerts_still_failing
from incidents.models import Incident, State
from incidents.receivers import close_incident, open_incident, reopen_incidents
from monitors.models import Overlay

from .story import NOW, end, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture
def opened(make_monitor):
    """A manual incident that a monitor suffers from, ten minutes old."""
    monitor = make_monitor()
    return Incident.open(
        title="Orders fail",
        summary="We **look** into it.",
        started_at=NOW,
        at=NOW,
        source="DASHBOARD",
        severity=Incident.Severity.MAJOR,
        impacts={monitor: "DEGRADED"},
    )


def test_manual_incident_begins_with_its_summary(opened, heard):
    update = opened.updates.get()

    assert (opened.state, opened.source) == (State.INVESTIGATING, "DASHBOARD")
    assert update.html == "<p>We <strong>look</strong> into it.</p>"
    assert (update.state, update.at) == (State.INVESTIGATING, NOW)
    assert Overlay.objects.get().status == "degraded"


def test_updates_may_go_any_way_and_the_latest_by_time_makes_the_state(opened, heard):
    opened.update(state=State.MONITORING, body="Fixed?", at=minutes(5))
    opened.update(state=State.IDENTIFIED, body="No.", at=minutes(6))
    assert opened.state == State.IDENTIFIED

    opened.update(state=State.RESOLVED, body="Back-dated", at=minutes(3))
    assert opened.state == State.IDENTIFIED
    assert opened.ended_at is None
    assert heard == ["updated", "updated", "updated"]


def test_resolving_ends_the_incident_its_impacts_and_overlays(opened, heard):
    opened.update(state=State.RESOLVED, body="Done.", at=minutes(9))

    assert (opened.state, opened.ended_at) == (State.RESOLVED, minutes(9))
    assert opened.impacts.get().ended_at == minutes(9)
    assert Overlay.objects.get().ended_at == minutes(9)
    assert heard == ["resolved"]


def test_word_after_the_end_moves_neither_end_nor_state(opened, heard):
    opened.update(state=State.RESOLVED, body="Done.", at=minutes(9))
    opened.update(state=State.RESOLVED, body="What we learnt.", at=minutes(900))

    assert (opened.state, opened.ended_at) == (State.RESOLVED, minutes(9))
    assert heard == ["resolved", "updated"]


def test_update_after_the_end_with_another_state_reopens(opened, heard):
    opened.update(state=State.RESOLVED, body="Done.", at=minutes(9))
    opened.update(state=State.INVESTIGATING, body="It is back.", at=minutes(20))

    assert (opened.state, opened.ended_at) == (State.INVESTIGATING, None)
    assert heard == ["resolved", "reopened"]


def test_incident_never_ends_before_it_began(opened):
    opened.update(state=State.RESOLVED, body="Done.", at=NOW)
    opened.updates.update(at=minutes(-30))
    opened._follow_latest()

    assert opened.ended_at == NOW


def test_alert_without_create_incident_opens_none(make_alert):
    alert = make_alert(create_incident=False)

    open_incident(alert=alert, transition=alert.transitions.get())

    assert not Incident.objects.exists()


def test_announcing_twice_opens_one_incident(make_alert, heard):
    alert = make_alert()
    transition = alert.transitions.get()

    open_incident(alert=alert, transition=transition)
    open_incident(alert=alert, transition=transition)

    assert Incident.objects.count() == 1
    assert heard == ["published"]


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("WARNING", Incident.Severity.MINOR), ("CRITICAL", Incident.Severity.CRITICAL)],
)
def test_severity_follows_the_rule(severity, expected, make_alert):
    alert = make_alert(severity=severity)

    open_incident(alert=alert, transition=alert.transitions.get())

    assert Incident.objects.get().severity == expected


def test_automatic_incident_neither_counts_nor_blinds_its_alert(make_alert):
    alert = make_alert()

    open_incident(alert=alert, transition=alert.transitions.get())

    overlay = Overlay.objects.get()
    assert (overlay.status, overlay.counts, overlay.holds_alerts) == (
        "down",
        False,
        False,
    )


def test_closing_update_tells_the_whole_duration(make_alert, heard):
    alert = make_alert(severity="CRITICAL")
    open_incident(alert=alert, transition=alert.transitions.get())

    close_incident(alert=alert, transition=end(alert, minutes(47)))

    incident = Incident.objects.get()
    closing = incident.updates.first()
    assert (incident.state, incident.ended_at) == (State.RESOLVED, minutes(47))
    assert closing.body == (
        "The alert has been resolved, Total duration: 47 minutes\n\n"
        "#### Alert Details\n\n"
        "| Setting | Value |\n"
        "| :--- | :--- |\n"
        "| **Monitor Name** | Shop |\n"
        "| **Incident Status** | RESOLVED |\n"
        "| **Monitor Tag** | shop |\n"
        "| **Alert Type** | STATUS |\n"
        "| **Alert Value** | DOWN |\n"
        "| **Severity** | CRITICAL |\n"
        "| **Failure Threshold** | 3 |\n"
        "| **Success Threshold** | 2 |"
    )
    assert heard == ["published", "resolved"]


def test_closing_shows_the_values_of_the_time_of_the_alert(make_alert):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    AlertRule.objects.update(failure_threshold=9, success_threshold=9)

    close_incident(alert=alert, transition=end(alert, minutes(5)))

    assert (
        "| **Success Threshold** | 2 |" in Incident.objects.get().updates.first().body
    )


def test_closing_comes_after_what_somebody_wrote_meanwhile(make_alert):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    incident = Incident.objects.get()
    incident.update(state=State.MONITORING, body="A fix is out.", at=minutes(30))

    close_incident(alert=alert, transition=end(alert, minutes(20)))

    incident.refresh_from_db()
    assert (incident.state, incident.ended_at) == (State.RESOLVED, minutes(30))


def test_incident_resolved_by_hand_gets_no_second_closing(make_alert, heard):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    incident = Incident.objects.get()
    incident.update(state=State.RESOLVED, body="Done.", at=minutes(30))

    close_incident(alert=alert, transition=end(alert, minutes(40)))

    assert incident.updates.count() == 2
    assert heard == ["published", "resolved"]


def test_incident_resolved_too_early_is_reopened_with_its_reason(make_alert, heard):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    incident = Incident.objects.get()
    incident.update(state=State.RESOLVED, body="Done.", at=minutes(30))

    alerts_still_failing.send(sender=Alert, alerts=[alert], at=minutes(31))
    alerts_still_failing.send(sender=Alert, alerts=[alert], at=minutes(32))

    incident.refresh_from_db()
    assert (incident.state, incident.ended_at) == (State.INVESTIGATING, None)
    assert "still fail" in incident.updates.first().plain
    assert incident.impacts.get(ended_at=None).level == "DOWN"
    assert heard == ["published", "resolved", "reopened"]


def test_deleted_incident_is_not_reopened_and_says_so(make_alert, heard):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    incident = Incident.objects.get()
    incident.delete_by_hand(at=minutes(10))

    reopen_incidents(alerts=[alert], at=minutes(11))
    reopen_incidents(alerts=[alert], at=minutes(12))
    close_incident(alert=alert, transition=end(alert, minutes(13)))

    decision = Decision.objects.get()
    assert (decision.gate, decision.count) == ("deleted", 2)
    assert "deleted by hand" in decision.reason
    assert not Incident.objects.current().exists()
    assert not Overlay.objects.exists()
    assert heard == ["published", "deleted"]


def test_incident_of_two_alerts_ends_with_the_second(make_monitor, make_alert):
    first = make_alert(make_monitor("a"))
    second = make_alert(make_monitor("b"))
    open_incident(alert=first, transition=first.transitions.get())
    incident = Incident.objects.get()
    incident.alert_links.create(alert=second)
    impacts = {first.monitor: "DOWN", second.monitor: "DOWN"}
    incident.revise(impacts=impacts, at=NOW)

    close_incident(alert=first, transition=end(first, minutes(5)))
    incident.refresh_from_db()
    assert incident.state == State.INVESTIGATING
    assert incident.impacts.filter(ended_at=None).get().monitor == second.monitor

    close_incident(alert=second, transition=end(second, minutes(6)))
    incident.refresh_from_db()
    assert incident.state == State.RESOLVED


def test_worse_impact_follows_the_better_one(opened):
    monitor = opened.impacts.get().monitor

    opened.revise(impacts={monitor: "DOWN"}, at=minutes(5))
    opened.revise(impacts={monitor: "DOWN"}, at=minutes(6))

    found = opened.impacts.values_list("level", "started_at", "ended_at")
    assert list(found) == [("DEGRADED", NOW, minutes(5)), ("DOWN", minutes(5), None)]
    assert Overlay.objects.filter(ended_at=None).get().status == "down"


def test_ended_incident_affects_nothing_any_more(opened, make_monitor):
    opened.update(state=State.RESOLVED, body="Done.", at=minutes(9))

    opened.revise(impacts={make_monitor("late"): "DOWN"}, at=minutes(5))

    assert set(opened.impacts.values_list("ended_at", flat=True)) == {minutes(9)}
    assert not Overlay.objects.filter(ended_at=None).exists()


def test_revising_is_announced_once(opened, heard):
    opened.revise(title="Checkout fails", severity=3, impacts={}, at=minutes(5))

    assert Incident.objects.get().title == "Checkout fails"
    assert heard == ["updated"]


def test_spared_monitor_keeps_its_history(opened):
    opened.revise(impacts={}, at=minutes(5))

    assert opened.impacts.get().ended_at == minutes(5)
    assert Overlay.objects.get().ended_at == minutes(5)


def test_hostile_names_break_neither_table_nor_page(make_monitor, make_alert):
    monitor = make_monitor(name='<script>|"`*_\\ x')
    alert = make_alert(monitor, description="# Not a\nheading | <b>x</b>")

    open_incident(alert=alert, transition=alert.transitions.get())

    update = Incident.objects.get().updates.get()
    assert "<script" not in update.html
    assert "<b>" not in update.html
    assert "<h1" not in update.html
    assert '&lt;script&gt;|"`*_\\ x' in update.html
    assert update.html.count("<tr>") == 8


def test_transition_is_only_announced_once(make_alert):
    transition = make_alert().transitions.get()
    again = Transition.objects.get(pk=transition.pk)

    assert transition.announce(at=NOW) is True
    assert again.announce(at=NOW) is False
    assert Incident.objects.count() == 1


def test_alert_resolved_meanwhile_reopens_nothing(make_alert):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    incident = Incident.objects.get()
    incident.update(state=State.RESOLVED, body="Done.", at=minutes(30))
    seen = Alert.objects.get()
    close_incident(alert=alert, transition=end(alert, minutes(31)))

    reopen_incidents(alerts=[seen], at=minutes(32))

    incident.refresh_from_db()
    assert incident.state == State.RESOLVED


def test_what_had_ended_with_the_incident_goes_on_with_it(opened):
    opened.update(state=State.RESOLVED, body="Done.", at=minutes(9))
    opened.update(state=State.IDENTIFIED, body="Not done.", at=minutes(20))

    again = opened.impacts.get(ended_at=None)
    assert (again.level, again.started_at) == ("DEGRADED", minutes(20))
    assert Overlay.objects.get(ended_at=None).status == "degraded"


def test_beginning_may_be_corrected_with_what_began_then(opened):
    opened.revise(started_at=minutes(-10), at=minutes(5))

    assert Incident.objects.get().started_at == minutes(-10)
    assert opened.impacts.get().started_at == minutes(-10)
    assert Overlay.objects.get().started_at == minutes(-10)
