import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from alerting import notices
from alerting.models import Alert, Transition
from outbox import rendering, templating
from outbox.models import Message
from outbox.rendering import Withdrawn

DOCS = Path(__file__).parents[2] / "docs" / "notices.md"

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


def notice(transition, **said):
    return notices.render(Message(values={"transition": transition.pk, **said}))


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
    assert "Lasted:     47 min" in content.text
    assert "2 passing checks in a row" in content.text
    assert "Resolved" in content.html


def test_notice_of_a_short_alert_counts_seconds(make_transition):
    content = notice(
        make_transition(Alert.State.RESOLVED, lasting=timedelta(seconds=40))
    )

    assert "Lasted:     40 s" in content.text
    assert "after 40 s" in content.html


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


def test_texts_are_made_when_they_are_asked_for(
    make_transition, django_assert_num_queries, monkeypatch
):
    transition = make_transition()
    asked = []
    monkeypatch.setattr(
        notices, "render_to_string", lambda name, _: asked.append(name) or name
    )

    with django_assert_num_queries(1):
        content = notice(transition)
        assert content.subject
        assert content.values["type"] == "alert.triggered"
        assert content.variables["alert_status"] == "TRIGGERED"
    assert asked == []
    assert (content.html, content.html) == (("alerting/notice.html",) * 2)
    assert asked == ["alerting/notice.html"]


# The flat names that templates use


@pytest.mark.parametrize("to", Alert.State.values)
def test_every_variable_is_known_by_its_description(make_transition, to):
    made = notice(make_transition(to)).variables

    assert made.keys() == notices.VARIABLES.keys()


def test_variables_say_what_the_values_say(make_transition):
    transition = make_transition(error="Status 503", description="Call Ana.")
    transition.alert.link(number=412, path="/incidents/412/")

    told = notice(transition).variables

    assert told["alert_name"] == "Web Shop STATUS: DOWN"
    assert told["alert_message"] == "Call Ana."
    assert told["alert_error"] == "Status 503"
    assert (told["alert_incident_id"], told["monitor_tag"]) == (412, "shop")
    assert told["alert_cta_url"] == told["alert_incident_url"]
    assert told["alert_cta_url"] == "http://testserver/incidents/412/"
    assert (told["alert_duration"], told["alert_duration_seconds"]) == ("47 min", 2820)
    assert (told["is_triggered"], told["is_resolved"]) == (True, False)
    assert (told["is_test"], told["is_reminder"]) == (False, False)


def test_docs_explain_every_variable():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", DOCS.read_text(), re.MULTILINE)

    assert dict(rows) == notices.VARIABLES


def test_templates_in_the_docs_are_good():
    blocks = re.findall(
        r"^```(json|text|html)\n(.*?)^```", DOCS.read_text(), re.M | re.S
    )

    assert len(blocks) > 5
    for form, source in blocks:
        assert templating.fault(source, form) == "", source
        assert templating.unknown(source) == [], source


def test_docs_show_the_default_body_as_it_is(make_transition):
    transition = make_transition(Alert.State.RESOLVED)
    transition.alert.link(number=412, path="/incidents/412/")
    shown = json.loads(DOCS.read_text().split("```json\n")[1].split("```")[0])

    def shape(value):
        inner = value.items() if isinstance(value, dict) else ()
        return {name: shape(part) for name, part in inner}

    assert shape(shown) == shape(notice(transition).values)


# Reminders and acknowledgements


def test_reminder_says_that_it_goes_on_and_for_how_long(make_transition):
    transition = make_transition()
    at = transition.at + timedelta(minutes=13)

    content = notice(transition, kind="reminder", number=2, at=at.isoformat())

    assert content.subject == "Still down: Web Shop STATUS: DOWN"
    assert content.text.startswith("STILL DOWN: Web Shop")
    assert "Failing for 1 h; reminder 2." in content.text
    assert "Failing for 1 h; reminder 2." in content.html
    assert content.values["type"] == "alert.reminded"
    assert content.values["timestamp"] == at.isoformat()
    assert content.variables["is_reminder"] is True
    assert content.variables["alert_timestamp"] == at.isoformat()


def test_reminder_of_what_is_over_is_withdrawn(make_transition):
    transition = make_transition(Alert.State.RESOLVED)

    with pytest.raises(Withdrawn, match="resolved since"):
        notice(transition, kind="reminder", number=1)


def test_acknowledgement_says_by_whom_and_why(make_transition):
    content = notice(
        make_transition(acknowledged_by="ana", note="On it"), kind="acknowledged"
    )

    assert content.subject == "Acknowledged: Web Shop STATUS: DOWN"
    assert "Acknowledged by ana: On it" in content.text
    assert "Acknowledged by ana: On it" in content.html
    assert content.values["type"] == "alert.acknowledged"
    assert content.variables["is_acknowledged"] is True
    assert content.variables["alert_note"] == "On it"


@pytest.mark.parametrize(("minutes", "holds"), [(5, True), (-5, False)])
def test_acknowledgement_holds_until_its_time(make_transition, minutes, holds):
    now = timezone.now()
    transition = make_transition(
        acknowledged_at=now, acknowledged_until=now + timedelta(minutes=minutes)
    )

    assert notice(transition).variables["is_acknowledged"] is holds


# What others get wrong


def test_quote_and_newline_in_a_description_do_not_break_a_body(make_transition):
    said = 'Disk "sda"\nis full \\ gone'
    content = notice(make_transition(description=said))
    source = '{"a": "{{alert_message}}", "b": "{{{alert_message}}}"}'

    values = {**content.values, **content.variables}

    made = json.loads(templating.render(source, values, "json"))
    assert made == {"a": said, "b": said}


def test_timestamp_of_a_resolved_notice_is_that_of_resolving(make_transition):
    transition = make_transition(Alert.State.RESOLVED)

    told = notice(transition).variables

    assert told["alert_timestamp"] == told["alert_resolved_at"]
    assert told["alert_timestamp"] != told["alert_triggered_at"]


def test_inactive_trigger_is_told_nothing(
    make_monitor, make_rule, make_trigger, triggered, receiver
):
    trigger = make_trigger(url=receiver.url)
    trigger.is_active = False
    trigger.save()
    monitor = make_monitor()

    triggered(make_rule(monitor, triggers=[trigger]), monitor)

    assert not Message.objects.filter(trigger=trigger).exists()


def test_test_is_the_same_every_time(make_monitor):
    make_monitor("shop", name="Web Shop")

    for _ in range(5):
        said = rendering.tests()
        assert [what for what, _ in said] == ["TRIGGERED", "RESOLVED"]
        assert [content.subject for _, content in said] == [
            "Test: WARNING: Web Shop STATUS: DOWN",
            "Test: Resolved: Web Shop STATUS: DOWN",
        ]
        assert [c.variables["alert_status"] for _, c in said] == [w for w, _ in said]
        assert all(content.values["is_test"] for _, content in said)
    assert not Alert.objects.exists()


def test_test_needs_no_monitor(db):
    assert rendering.tests()[0][1].variables["monitor_tag"] == "shop"
