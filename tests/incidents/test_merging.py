"""Two incidents become one, one becomes two, and what one has to do with another."""

from datetime import timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.utils import timezone

from alerting.models import Decision
from incidents.merging import merge, relate, split, unrelate
from incidents.models import Impact, Incident, IncidentUpdate, Refused, Relation
from monitors.models import Overlay
from outbox.models import Message
from subscriptions.models import FanOut, Subscriber
from subscriptions.tasks import fan_out_due

from .story import NOW, announce, minutes, recover

pytestmark = pytest.mark.django_db

LATER = minutes(30)


def of(alert):
    announce(alert)
    alert.refresh_from_db()
    return Incident.objects.get(alert_links__alert=alert)


@pytest.fixture
def two(make_alert, make_monitor):
    """Two automatic incidents of two monitors."""
    shop, mail = make_monitor("shop"), make_monitor("mail")
    return of(make_alert(shop)), of(make_alert(mail, began_at=minutes(1)))


def laid(incident):
    found = Overlay.objects.filter(cause=incident.cause).order_by("pk")
    return [(o.monitor_id, o.status, o.started_at, o.ended_at) for o in found]


def facts(incident, kind):
    return [entry.text for entry in incident.timeline.filter(kind=kind)]


# Merging


def test_merged_incident_is_told_of_by_the_other_alone(two, heard):
    first, second = two
    began = first.started_at

    assert merge(first, second, at=LATER, author="ana")

    assert [*Incident.objects.published()] == [second]
    assert first.nag_at is None
    assert [*Incident.objects.open()] == [second]
    second.refresh_from_db()
    assert second.started_at == began
    assert {i.monitor_id for i in second.impacts.filter(ended_at=None)} == {
        first.monitor_id,
        second.monitor_id,
    }
    assert len(laid(second)) == 2
    assert laid(first) == []
    assert second.alert_links.count() == 2
    assert heard == ["updated", "deleted"]
    assert second.updates.first().body == f"“{first.title}” is part of this incident."
    assert facts(first, "MERGED") == [f"Became part of “{second}” ({second.pk})"]
    assert facts(second, "MERGED") == [f"“{first}” ({first.pk}) became part of it"]


def test_merging_again_does_nothing(two):
    first, second = two
    merge(first, second, at=LATER)
    told = IncidentUpdate.every.count()

    assert merge(first, second, at=LATER) is False

    assert IncidentUpdate.every.count() == told


def test_race_of_two_merges_takes_over_once(transactional_db, two, at_once):
    first, second = two

    at_once(*[lambda: merge(first, second, at=LATER)] * 4)

    assert second.alert_links.count() == 2
    assert second.updates.count() == 2
    assert second.timeline.filter(kind="MERGED").count() == 1


def test_race_of_merging_two_into_each_other_leaves_one(transactional_db, two, at_once):
    first, second = two

    def one_into(one, other):
        try:
            merge(one, other, at=LATER)
        except ValidationError as refused:
            assert "merged already" in refused.messages[0]

    at_once(lambda: one_into(first, second), lambda: one_into(second, first))

    assert Incident.objects.published().count() == 1
    assert Incident.objects.published().get().alert_links.count() == 2


def test_what_was_merged_ends_when_all_its_alerts_have(two):
    first, second = two
    alerts = [incident.alert_links.get().alert for incident in two]
    merge(first, second, at=LATER)

    recover(alerts[0], minutes(40))
    second.refresh_from_db()
    assert second.is_open
    assert second.impacts.filter(ended_at=None).get().monitor == alerts[1].monitor

    recover(alerts[1], minutes(41))
    second.refresh_from_db()
    assert second.ended_at == minutes(41)
    first.refresh_from_db()
    assert first.ended_at is None


def test_same_alert_again_joins_the_incident_that_took_over(two, make_alert):
    first, second = two
    alert = first.alert_links.get().alert
    merge(first, second, at=LATER)
    recover(alert, minutes(40))

    again = make_alert(alert.monitor, alert.rule, began_at=minutes(45))
    announce(again)

    assert Incident.objects.count() == 2
    assert second.alert_links.filter(alert=again).exists()
    assert not Refused.objects.exists()
    assert Decision.objects.filter(gate="duplicate", verdict="JOINED").exists()


def test_incident_of_a_person_takes_alerts_over_and_is_ended_by_a_person(
    two, make_monitor
):
    by_hand = Incident.open(
        title="Slow", summary="It is.", started_at=NOW, at=NOW, source="DASHBOARD"
    )
    alert = two[0].alert_links.get().alert
    merge(two[0], by_hand, at=LATER)

    recover(alert, minutes(40))

    by_hand.refresh_from_db()
    assert by_hand.is_open
    assert not by_hand.impacts.filter(ended_at=None).exists()


def test_what_is_over_is_merged_without_a_mail(two):
    first, second = two
    for incident in two:
        incident.update(state="RESOLVED", body="Over.", at=minutes(20))
    news = FanOut.objects.count()

    merge(first, second, at=LATER)

    assert FanOut.objects.count() == news
    second.refresh_from_db()
    assert (second.state, second.ended_at) == ("RESOLVED", minutes(20))
    assert {impact.ended_at for impact in second.impacts.all()} == {minutes(20)}


def test_worse_of_two_impacts_on_one_monitor_stays(make_monitor):
    shop = make_monitor("shop")
    told = {"summary": "It is.", "started_at": NOW, "at": NOW, "source": "DASHBOARD"}
    slow = Incident.open(title="Slow", impacts={shop: "DEGRADED"}, **told)
    down = Incident.open(title="Down", impacts={shop: "DOWN"}, severity=3, **told)

    merge(down, slow, at=LATER)

    slow.refresh_from_db()
    assert slow.impacts.get(ended_at=None).level == "DOWN"
    assert slow.severity == 3
    assert {(status, ended) for _, status, _, ended in laid(slow)} == {
        ("degraded", LATER),
        ("down", LATER),
        ("down", None),
    }


def test_impact_that_was_over_makes_no_other_one_worse(make_monitor):
    shop = make_monitor("shop")
    told = {"summary": "It is.", "started_at": NOW, "at": NOW, "source": "DASHBOARD"}
    slow = Incident.open(title="Slow", impacts={shop: "DEGRADED"}, **told)
    down = Incident.open(title="Down", impacts={shop: "DOWN"}, **told)
    down.revise(at=minutes(5), impacts={})

    merge(down, slow, at=LATER)

    assert slow.impacts.get(ended_at=None).level == "DEGRADED"
    assert {(status, ended) for _, status, _, ended in laid(slow)} == {
        ("degraded", None),
        ("down", minutes(5)),
    }


def test_draft_joins_without_a_word_unless_there_is_one(two):
    first, second = two
    Incident.objects.filter(pk=first.pk).update(published_at=None)
    told = second.updates.count()

    merge(first, second, at=LATER, body="The *shop* too.")

    assert second.updates.count() == told + 1
    assert second.updates.first().body == "The *shop* too."


def test_hostile_title_stays_words(two):
    first, second = two
    first.revise(at=LATER, title="<script>alert(1)</script> [x](javascript:y)")

    merge(first, second, at=LATER)

    html = second.updates.first().html
    assert "<script>" not in html
    assert "href" not in html


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda a, b: b.delete_by_hand(at=LATER), "deleted"),
        (lambda a, b: b.update(state="RESOLVED", body="Over", at=LATER), "is over"),
        (lambda a, b: merge(b, a, at=LATER), "merged already"),
        (
            lambda a, b: Incident.objects.filter(pk=b.pk).update(published_at=None),
            "publish the other",
        ),
        (
            lambda a, b: Incident.objects.filter(pk=b.pk).update(is_private=True),
            "private",
        ),
    ],
    ids=["deleted", "over", "merged the other way", "draft", "private"],
)
def test_what_cannot_be_merged_is_refused_with_the_reason(two, prepare, reason):
    first, second = two
    prepare(first, second)
    before = second.alert_links.count()

    with pytest.raises(ValidationError, match=reason):
        merge(first, second, at=LATER)

    assert second.alert_links.count() == before


def test_incident_does_not_become_part_of_itself(two):
    with pytest.raises(ValidationError, match="itself"):
        merge(two[0], Incident.objects.get(pk=two[0].pk), at=LATER)


def test_news_of_a_merged_incident_that_wait_are_not_sent(two):
    first, second = two
    assert FanOut.objects.filter(incident=first).exists()

    merge(first, second, at=LATER)

    Subscriber.add("reader@example.org", at=timezone.now() - timedelta(days=1))
    FanOut.objects.update(batch=None)
    with time_machine.travel(LATER, tick=False):
        fan_out_due.run()
    told = Message.objects.filter(renderer="incident").values_list(
        "topic_key", flat=True
    )
    assert {*told} == {second.cause}


# Splitting


@pytest.fixture
def wide(make_monitor):
    """A public incident of three monitors."""
    monitors = [make_monitor(tag) for tag in ("shop", "mail", "docs")]
    return Incident.open(
        title="All is down",
        summary="We look into it.",
        started_at=NOW,
        at=NOW,
        source="DASHBOARD",
        severity=2,
        impacts=dict.fromkeys(monitors, "DOWN"),
    )


def test_split_gives_some_monitors_an_incident_of_their_own(wide, heard):
    shop, mail, docs = (i.monitor for i in wide.impacts.order_by("pk"))

    made = split(wide, [shop, mail], title="Shop", summary="Only these.", at=LATER)

    assert {i.monitor for i in made.impacts.all()} == {shop, mail}
    assert {i.monitor for i in wide.impacts.all()} == {docs}
    assert made.started_at == NOW
    assert made.published_at == LATER
    assert made.severity == 2
    assert [monitor for monitor, *_ in laid(made)] == [shop.pk, mail.pk]
    assert [monitor for monitor, *_ in laid(wide)] == [docs.pk]
    assert Relation.objects.get().incident == made
    assert made.nag_at == LATER + timedelta(minutes=30)
    assert heard.count("published") == 1
    assert facts(wide, "SPLIT")[0].startswith("Shop, Mail: told of by “Shop”")


def test_alerts_go_with_their_monitors(two):
    first, second = two
    rule, monitor = first.rule, first.monitor
    merge(first, second, at=LATER)
    alert = second.alert_links.get(alert__monitor=monitor).alert

    made = split(second, [monitor], title="Its own", summary="Again.", at=minutes(35))
    recover(alert, minutes(40))

    made.refresh_from_db()
    assert made.ended_at == minutes(40)
    assert Incident.objects.get(pk=second.pk).is_open
    assert rule.incidents.count() == 1  # the one that was merged kept its place


def test_place_of_a_rule_and_monitor_goes_with_its_alert(make_alert, make_monitor):
    incident = of(make_alert())
    rule, monitor = incident.rule, incident.monitor
    other = make_monitor("other")
    incident.revise(at=LATER, impacts={monitor: "DOWN", other: "DOWN"})

    made = split(incident, [monitor], title="Its own", summary="x", at=LATER)

    incident.refresh_from_db()
    assert (made.rule, made.monitor) == (rule, monitor)
    assert (incident.rule, incident.monitor) == (None, None)


@pytest.mark.parametrize(
    ("choose", "reason"),
    [
        (lambda all_: all_, "Leave at least one"),
        (lambda all_: [], "Choose some"),
    ],
    ids=["all", "none"],
)
def test_split_that_leaves_nothing_is_refused(wide, choose, reason):
    monitors = [impact.monitor for impact in wide.impacts.all()]

    with pytest.raises(ValidationError, match=reason):
        split(wide, choose(monitors), title="x", summary="x", at=LATER)

    assert Incident.objects.count() == 1


def test_split_of_a_monitor_that_is_not_affected_is_refused(wide, make_monitor):
    with pytest.raises(ValidationError, match="Choose some"):
        split(wide, [make_monitor("other")], title="x", summary="x", at=LATER)


def test_nothing_is_split_off_what_is_over(wide):
    shop = wide.impacts.first().monitor
    wide.update(state="RESOLVED", body="Over.", at=LATER)

    with pytest.raises(ValidationError, match="over"):
        split(wide, [shop], title="x", summary="x", at=LATER)


def test_draft_is_split_into_drafts(wide):
    Incident.objects.filter(pk=wide.pk).update(published_at=None, is_held=True)
    shop = wide.impacts.first().monitor

    made = split(wide, [shop], title="x", summary="x", at=LATER)

    assert made.is_draft
    assert made.is_held


# Relations


def test_relation_is_noted_once_and_read_from_both(two):
    first, second = two
    at = timezone.now()

    assert relate(first, second, "DUPLICATE", at=at, author="ana")
    assert not relate(first, second, "DUPLICATE", at=at)

    assert Relation.objects.get().author == "ana"
    assert facts(first, "RELATED") == [f"Duplicate of “{second}” ({second.pk})"]
    assert facts(second, "RELATED") == [f"Has a duplicate: “{first}” ({first.pk})"]


def test_relation_the_other_way_replaces_it(two):
    first, second = two
    relate(first, second, "DUPLICATE", at=LATER)

    relate(second, first, "RELATED", at=LATER)

    assert Relation.objects.get().incident == second


def test_relation_is_taken_back_from_either_side(two):
    first, second = two
    relate(first, second, "RELATED", at=LATER)

    assert unrelate(second, first, at=LATER)
    assert not unrelate(second, first, at=LATER)

    assert not Relation.objects.exists()


def test_incident_is_not_related_to_itself(two):
    with pytest.raises(ValidationError, match="another"):
        relate(two[0], two[0], "RELATED", at=LATER)


def test_impacts_of_the_past_go_over_with_their_times(wide, make_monitor):
    shop = wide.impacts.first().monitor
    wide.revise(
        at=minutes(5),
        impacts={i.monitor: "DOWN" for i in wide.impacts.all() if i.monitor != shop},
    )
    other = Incident.open(
        title="Other", summary="x", started_at=minutes(8), at=minutes(8), source="API"
    )

    merge(wide, other, at=LATER)

    past = other.impacts.get(monitor=shop)
    assert (past.started_at, past.ended_at) == (NOW, minutes(5))
    assert (shop.pk, "down", NOW, minutes(5)) in laid(other)
    assert Impact.objects.filter(incident=wide).count() == 0
    assert past.ended_at - past.started_at == timedelta(minutes=5)
