"""Odd histories: whatever is said in whichever order, nothing lasts less than nothing."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incidents.merging import merge
from incidents.models import Incident, IncidentUpdate
from monitors.models import Overlay

from .story import NOW, minutes

pytestmark = pytest.mark.django_db

moments = st.integers(-60, 60).map(minutes)
states = st.sampled_from(["INVESTIGATING", "IDENTIFIED", "MONITORING", "RESOLVED"])
levels = st.sampled_from(["DEGRADED", "PARTIAL", "DOWN", ""])
monitors = st.integers(0, 2)


def tell(incident, shops, at, state, monitor, level):
    impacts = {shops[monitor]: level}
    incident.update(state=state, body="Told.", at=at, impacts=impacts)


def redo_facts(incident, shops, at, state, monitor, level):
    incident.revise(at=at, impacts={shops[monitor]: level} if level else {})


def begin(incident, shops, at, state, monitor, level):
    incident.revise(at=NOW, started_at=at)


def move(incident, shops, at, state, monitor, level):
    newest = IncidentUpdate.objects.filter(incident=incident).latest("pk")
    newest.edit(at=NOW, told_at=at, state=state)


def take_back(incident, shops, at, state, monitor, level):
    IncidentUpdate.objects.filter(incident=incident).latest("pk").take_back(at=at)


def take_over(incident, shops, at, state, monitor, level):
    if incident.is_open:
        other = opened({shops[monitor]: level or "DOWN"}, at)
        merge(other, incident, at=at)


steps = st.tuples(
    st.sampled_from([tell, redo_facts, begin, move, take_back, take_over]),
    *(moments, states, monitors, levels),
)


def opened(impacts, at=NOW):
    return Incident.open(
        title="Slow",
        summary="Slow.",
        started_at=at,
        at=NOW,
        source="API",
        impacts=impacts,
    )


def suffered(incident):
    """What it does to monitors, and what is laid over them."""
    impacts = incident.impacts.values_list("monitor", "level", "started_at", "ended_at")
    laid = Overlay.objects.filter(cause=incident.cause).values_list(
        "monitor", "status", "started_at", "ended_at"
    )
    return sorted(map(str, impacts)), sorted(
        str((monitor, status.upper(), *times)) for monitor, status, *times in laid
    )


@given(told=st.lists(steps, max_size=7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_history_makes_anything_last_less_than_nothing(told, shops):
    incident = opened({shops[0]: "DOWN", shops[1]: "DEGRADED"})

    for step, *how in told:
        step(incident, shops, *how)
        incident.refresh_from_db()

    lasting = [incident, *incident.impacts.all()]
    lasting += Overlay.objects.filter(cause=incident.cause)
    assert all(
        one.ended_at is None or one.ended_at >= one.started_at for one in lasting
    )
    impacts, laid = suffered(incident)
    assert impacts == laid
    going_on = incident.impacts.filter(ended_at=None).values_list("monitor", flat=True)
    assert len(set(going_on)) == len(going_on)
    assert incident.is_open or not going_on
    Incident.objects.all().delete()
    Overlay.objects.all().delete()


def test_beginning_is_moved_behind_the_end_of_an_impact(api, shops):
    incident = opened({shops[0]: "DOWN", shops[1]: "DOWN"}, minutes(-60))
    spared = {"state": "IDENTIFIED", "body": "One is well.", "impacts": {shops[0]: ""}}
    incident.update(**spared, at=minutes(-50))

    incident.revise(at=NOW, started_at=minutes(-30))

    short = incident.impacts.get(monitor=shops[0])
    assert short.started_at == short.ended_at == minutes(-30)
    began = incident.timeline.get(kind="BEGAN")
    assert began.facts["from"] == minutes(-60).isoformat()


def test_impact_of_an_update_of_before_lasts_until_the_next_change(shops):
    shop, mail, _ = shops
    incident = opened({shop: "DOWN"}, minutes(-60))
    for at, level in ((-20, "PARTIAL"), (-40, "DEGRADED")):
        incident.update(
            state="IDENTIFIED", body="Told.", at=minutes(at), impacts={shop: level}
        )
    incident.update(
        state="IDENTIFIED", body="Told.", at=minutes(-30), impacts={mail: "DOWN"}
    )
    incident.update(
        state="IDENTIFIED", body="Told.", at=minutes(-50), impacts={mail: "DEGRADED"}
    )

    rows = incident.impacts.order_by("monitor", "started_at")
    assert list(rows.values_list("monitor", "level", "started_at", "ended_at")) == [
        (shop.pk, "DOWN", minutes(-60), minutes(-40)),
        (shop.pk, "DEGRADED", minutes(-40), minutes(-20)),
        (shop.pk, "PARTIAL", minutes(-20), None),
        (mail.pk, "DEGRADED", minutes(-50), minutes(-30)),
        (mail.pk, "DOWN", minutes(-30), None),
    ]
    impacts, laid = suffered(incident)
    assert impacts == laid


def test_what_is_over_affects_nothing_more(api, shops):
    incident = opened({shops[0]: "DOWN"})
    incident.update(state="RESOLVED", body="Over.", at=minutes(5))
    path = f"/api/v1/incidents/{incident.pk}/updates/"
    told = {"state": "RESOLVED", "body": "Why.", "impacts": {shops[1].tag: "DOWN"}}

    refused = api.post(path, told)
    incident.update(
        state="RESOLVED", body="Why.", at=minutes(9), impacts={shops[1]: "DOWN"}
    )

    assert refused.status_code == 400
    assert "nothing is affected any more" in refused.content.decode()
    assert incident.impacts.get().ended_at == minutes(5)


def test_beginning_moved_by_an_alert_or_a_merge_is_written_down(shops, make_alert):
    incident = opened({shops[0]: "DOWN"})
    early = opened({shops[1]: "DOWN"}, minutes(-30))
    alert = make_alert(shops[2])
    alert.began_at = NOW - timedelta(hours=2)

    merge(early, incident, at=NOW, author="ana")
    incident.join(alert, severity=1)

    began = incident.timeline.filter(kind="BEGAN").order_by("pk")
    assert [(line.actor, line.facts["from"]) for line in began] == [
        ("ana", NOW.isoformat()),
        ("Tocsin", minutes(-30).isoformat()),
    ]


def test_edit_is_written_down_with_what_was(shops):
    incident = opened({})
    update = incident.update(state="RESOLVED", body="Over.", at=minutes(5))

    update.edit(at=NOW, state="MONITORING", told_at=minutes(6), author="ana")

    line = incident.timeline.get(kind="EDITED")
    assert line.text.startswith("Edited an update, Resolved → Monitoring, ")
    assert (line.facts["from"]["state"], line.facts["to"]["state"]) == (
        *("RESOLVED", "MONITORING"),
    )
    assert line.facts["to"]["at"] == str(minutes(6))


@pytest.fixture
def shops(make_monitor):
    return [make_monitor(name) for name in ("shop", "mail", "bank")]
