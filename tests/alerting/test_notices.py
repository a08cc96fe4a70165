from datetime import timedelta

import pytest
from django.utils import timezone

from alerting import notices
from alerting.models import Alert, Transition
from outbox.models import Message
from outbox.rendering import Withdrawn

NASTY = "<script>alert(1)</script> \"quoted\" & 'so'"


@pytest.fixture
def make_transition(make_monitor, make_rule):
    """Make the first or the last transition of an alert."""

    def make(to=Alert.State.TRIGGERED, *, lasting=timedelta(minutes=47), **more):
        now = timezone.now()
        monitor = make_monitor("shop", name=more.pop("name", "Web Shop"))
        rule = make_rule(monitor)
        more.setdefault("severity", "CRITICAL")
        resolved = to == Alert.State.RESOLVED
        alert = Alert.objects.create(
            rule=rule,
            monitor=monitor,
            state=to,
            began_at=now - lasting,
            triggered_at=now - lasting,
            resolved_at=now if resolved else None,
            rule_name=rule.name,
            monitor_name=monitor.name,
            monitor_tag=monitor.tag,
            monitor_kind=monitor.kind,
            alert_for="STATUS",
            alert_value="DOWN",
            failure_threshold=3,
            success_threshold=2,
            create_incident=True,
            observed="down",
            **more,
        )
        reason = "2 passing checks in a row" if resolved else "3 failing in a row"
        return alert.transitions.create(to=to, reason=reason, at=now)

    return make


def notice(transition):
    return notices.render(Message(values={"transition": transition.pk}))


def test_notice_of_a_triggered_alert_says_what_fails(make_transition):
    content = notice(make_transition(error="Status 503", description="Call Ana."))

    assert content.subject == "CRITICAL: Web Shop STATUS: DOWN"
    for said in ("3 failing in a row", "Status 503", "Call Ana.", "Web Shop (shop)"):
        assert said in content.text
    assert "/admin/alerting/alert/" in content.text
    assert "Critical" in content.html
    assert "Incident:" not in content.text


def test_notice_of_a_resolved_alert_says_how_long_it_lasted(make_transition):
    content = notice(make_transition(Alert.State.RESOLVED))

    assert content.subject == "Resolved: Web Shop STATUS: DOWN"
    assert "47 minutes" in content.text.replace("\xa0", " ")
    assert "2 passing checks in a row" in content.text
    assert "Resolved" in content.html


def test_notice_of_a_short_alert_counts_seconds(make_transition):
    content = notice(
        make_transition(Alert.State.RESOLVED, lasting=timedelta(seconds=40))
    )

    assert "40 seconds" in content.text
    assert "40 seconds" in content.html


def test_notice_leads_to_the_incident(make_transition):
    transition = make_transition()
    transition.alert.link(number=412, path="/incidents/412/")

    content = notice(transition)

    assert "http://testserver/incidents/412/" in content.text
    assert "http://testserver/incidents/412/" in content.html


def test_notice_shows_what_strangers_wrote_as_text(make_transition):
    content = notice(
        make_transition(name=NASTY, error=NASTY, description=f"{NASTY}\nBcc: x")
    )

    assert content.subject == f"CRITICAL: {NASTY} STATUS: DOWN"
    assert f"Last error: {NASTY}" in content.text
    assert "<script" not in content.html


def test_notice_of_a_deleted_alert_is_withdrawn(make_transition):
    transition = make_transition()
    Transition.objects.all().delete()

    with pytest.raises(Withdrawn, match="deleted"):
        notice(transition)
