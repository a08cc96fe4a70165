import json
from datetime import timedelta
from importlib import import_module
from io import StringIO

import pytest
import time_machine
from django.apps import apps
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey
from incidents import tasks
from incidents.models import Incident, TimelineEntry
from incidents.receivers import open_incident
from monitors.models import Overlay

from .story import NOW, announce, minutes, recover

pytestmark = pytest.mark.django_db


@pytest.fixture
def opened(make_monitor):
    return Incident.open(
        title="Orders fail",
        summary="We look into it.",
        started_at=NOW,
        at=NOW,
        source="DASHBOARD",
        impacts={make_monitor(): "DEGRADED"},
        author="deploys",
    )


def told(incident):
    """The rows, the oldest first: kind, actor and text."""
    rows = incident.timeline.order_by("pk")
    return list(rows.values_list("kind", "actor", "text"))


def since(incident, number):
    return told(incident)[number:]


def test_opening_is_told_with_all_that_came_with_it(opened):
    assert told(opened) == [
        ("OPENED", "deploys", "Opened: Orders fail"),
        ("IMPACT", "deploys", "Shop: degraded"),
        ("UPDATE", "deploys", "Investigating: We look into it."),
    ]
    first = opened.timeline.get(kind="UPDATE")
    assert (first.happened_at, first.facts["body"]) == (NOW, "We look into it.")
    assert first.recorded_at < first.happened_at


def test_every_change_adds_its_row(opened, make_monitor, operator):
    before = opened.timeline.count()
    opened.revise(
        title="Checkout fails",
        severity=3,
        started_at=minutes(-5),
        impacts={make_monitor("bank"): "DOWN"},
        at=minutes(1),
        author=operator,
    )
    opened.update(state="RESOLVED", body="Done.", at=minutes(2), author=operator)
    opened.update(state="MONITORING", body="No.", at=minutes(3))
    opened.delete_by_hand(at=minutes(4), author="janitor")

    kinds = [(kind, actor) for kind, actor, _ in since(opened, before)]
    assert kinds == [
        *(("TITLE", "ana"), ("SEVERITY", "ana"), ("BEGAN", "ana")),
        *(("IMPACT", "ana"), ("IMPACT", "ana")),
        *(("UPDATE", "ana"), ("STATE", "ana")),
        *(("UPDATE", "Tocsin"), ("STATE", "Tocsin"), ("IMPACT", "Tocsin")),
        ("DELETED", "janitor"),
    ]
    assert opened.timeline.get(kind="SEVERITY").facts == {
        "from": "Minor",
        "to": "Critical",
    }


def test_revising_nothing_adds_nothing(opened):
    before = opened.timeline.count()

    opened.revise(title=opened.title, severity=opened.severity, at=minutes(1))

    assert opened.timeline.count() == before


@pytest.mark.parametrize("decision", ["publish", "discard"])
def test_what_becomes_of_a_draft_is_told(make_alert, decision, operator):
    draft = Incident.open_for(make_alert(), at=NOW, is_draft=True)
    before = draft.timeline.count()

    draft.hold(at=minutes(1), author=operator)
    draft.hold(at=minutes(2), author=operator)
    getattr(draft, decision)(at=minutes(3), author="robot")
    getattr(draft, decision)(at=minutes(4), author="robot")

    kinds = [(kind, actor) for kind, actor, _ in since(draft, before)]
    end = {"publish": "PUBLISHED", "discard": "DISCARDED"}[decision]
    assert kinds == [("HELD", "ana"), (end, "robot")]


def test_alert_tells_of_its_beginning_and_its_end(make_alert):
    alert = make_alert()
    open_incident(alert=alert, transition=alert.transitions.get())
    recover(alert, minutes(9))

    texts = [(kind, actor) for kind, actor, _ in told(Incident.objects.get())]
    assert texts == [
        *(("OPENED", "Tocsin"), ("ALERT", "Tocsin")),
        *(("IMPACT", "Tocsin"), ("UPDATE", "Tocsin")),
        *(("ALERT", "Tocsin"), ("UPDATE", "Tocsin"), ("STATE", "Tocsin")),
    ]


def test_rows_are_only_ever_added(opened):
    row = opened.timeline.first()

    for change in (
        row.save,
        row.delete,
        TimelineEntry.objects.all().delete,
        lambda: TimelineEntry.objects.update(text="x"),
    ):
        with pytest.raises(TypeError, match="only ever added to"):
            change()
    opened.delete()
    assert not TimelineEntry.objects.exists()


def by_model(incident, monitor, operator, admin, api):
    at = timezone.now()
    incident.update(state="IDENTIFIED", body="Found.", at=at, author=operator)
    incident.revise(title="New", severity=3, at=at, author=operator)
    incident.revise(impacts={monitor: "DOWN"}, at=at, author=operator)
    incident.note("Psst", at=at, author=operator)
    update = incident.updates.get(body="Found.")
    update.edit(body="Found it.", at=at, author=operator)
    update.take_back(at=at, author=operator)
    incident.delete_by_hand(at=at, author=operator)


def by_admin(incident, monitor, operator, admin, api):
    page = f"/admin/incidents/incident/{incident.pk}/change/"

    def post(path=page, **given):
        incident.refresh_from_db()
        given = {"version": incident.version, **given}
        assert admin.post(path, given).status_code == 302, given

    began = f"{incident.started_at:%Y-%m-%dT%H:%M:%S}"
    post(state="IDENTIFIED", body="Found.", at="", _publish="")
    post(title="New", severity=3, started_at=began, _revise="")
    post(monitor=monitor.pk, level="DOWN", _affect="")
    post(body="Psst", _note="")
    update = incident.updates.get(body="Found.")
    own = f"/admin/incidents/incident/{incident.pk}/updates/{update.pk}/"
    at = f"{update.at:%Y-%m-%dT%H:%M:%S}"
    post(own, state="IDENTIFIED", body="Found it.", at=at, _edit="")
    post(own, _taken_back="")
    post(page.replace("change", "delete"), post="yes")


def by_api(incident, monitor, operator, admin, api):
    path = f"/api/v1/incidents/{incident.pk}/"
    answers = [
        api.post(f"{path}updates/", {"state": "IDENTIFIED", "body": "Found."}),
        api.patch(path, {"title": "New", "severity": "critical"}),
        api.patch(path, {"monitors": [{"tag": monitor.tag, "impact": "DOWN"}]}),
        api.post(f"{path}updates/", {"is_internal": True, "body": "Psst"}),
    ]
    own = f"{path}updates/{answers[0].json()['id']}/"
    answers += [
        api.patch(own, {"body": "Found it."}),
        api.delete(own),
        api.delete(path),
    ]
    assert [a.status_code for a in answers] == [201, 200, 200, 201, 200, 204, 204]


@pytest.mark.parametrize(
    ("way", "actor"), [(by_model, "ana"), (by_admin, "ana"), (by_api, "tests")]
)
def test_every_way_leaves_the_same_rows_signals_and_timeline(
    way, actor, make_monitor, operator, admin, api, heard
):
    now = timezone.now().replace(microsecond=0)
    incident = Incident.open(
        title="Old", summary="It is slow.", started_at=now, at=now, source="API"
    )
    shop = make_monitor()

    way(incident, shop, operator, admin, api)

    assert since(incident, 2) == [
        ("UPDATE", actor, "Identified: Found."),
        ("STATE", actor, "State: Investigating → Identified"),
        ("TITLE", actor, "Title: Old → New"),
        ("SEVERITY", actor, "Severity: Minor → Critical"),
        ("IMPACT", actor, "Shop: down"),
        ("NOTE", actor, "Psst"),
        ("EDITED", actor, "Edited an update"),
        ("WITHDRAWN", actor, "Took an update back"),
        ("STATE", actor, "State: Identified → Investigating"),
        ("DELETED", actor, "Deleted"),
    ]
    assert heard == ["published", *["updated"] * 5, "deleted"]
    incident.refresh_from_db()
    assert (incident.title, incident.severity, incident.state) == (
        *("New", 3, "INVESTIGATING"),
    )


def told_by_alert(make_monitor, make_alert, api):
    alert = make_alert(make_monitor("shop"))
    announce(alert)
    recover(alert, minutes(30))


def told_by_command(make_monitor, make_alert, api):
    make_monitor("shop")
    told = ["--message", "Slow.", "--affects", "shop:down"]
    call_command("incident", "open", "Slow", *told, stdout=StringIO())
    number = str(Incident.objects.get().pk)
    call_command("incident", "resolve", number, "--message", "Over.", stdout=StringIO())


def told_by_schedule(make_monitor, make_alert, api):
    incident = Incident.open(
        title="Slow",
        summary="Slow.",
        started_at=timezone.now(),
        at=timezone.now(),
        source="DASHBOARD",
        impacts={make_monitor("shop"): "DOWN"},
        author="ana",
    )
    soon = timezone.now() + timedelta(minutes=30)
    facts = {"state": "RESOLVED", "body": "Over.", "author": "ana"}
    incident.schedule(**facts, publish_at=soon)
    with time_machine.travel(soon + timedelta(seconds=1), tick=False):
        tasks.tell_updates.run()


def told_by_api(make_monitor, make_alert, api):
    make_monitor("shop")
    body = {"title": "Slow", "summary": "Slow.", "started_at": "2026-11-01T10:00:00Z"}
    monitors = [{"tag": "shop", "impact": "DOWN"}]
    made = api.post("/api/v1/incidents/", body | {"monitors": monitors}, format="json")
    path = f"/api/v1/incidents/{made.json()['id']}/updates/"
    api.post(path, {"state": "RESOLVED", "body": "Over."})


@pytest.mark.parametrize(
    ("way", "actor"),
    [
        (told_by_alert, "Tocsin"),
        (told_by_command, "manage.py"),
        (told_by_schedule, "ana"),
        (told_by_api, "tests"),
    ],
)
def test_every_way_to_open_and_end_leaves_the_same_kinds_of_rows(
    way, actor, db, make_monitor, make_alert, api, heard
):
    way(make_monitor, make_alert, api)

    incident = Incident.objects.get()
    kinds = [entry.kind for entry in incident.timeline.order_by("recorded_at", "pk")]
    beside = ("ALERT", "SCHEDULED")
    assert [kind for kind in kinds if kind not in beside] == [
        *("OPENED", "IMPACT", "UPDATE", "UPDATE", "STATE"),
    ]
    assert {entry.actor for entry in incident.timeline.all()} == {actor}
    assert heard == ["published", "resolved"]
    assert incident.impacts.get().ended_at == incident.ended_at is not None
    assert Overlay.objects.get(cause=incident.cause).ended_at == incident.ended_at
    assert [update.state for update in incident.updates.all()] == [
        *("RESOLVED", "INVESTIGATING"),
    ]


def test_timeline_is_read_over_the_api(api, opened):
    answer = api.get(f"/api/v1/incidents/{opened.pk}/timeline/")

    newest = answer.json()["results"][0]
    assert (newest["kind"], newest["actor"]) == ("UPDATE", "deploys")
    assert newest["facts"]["body"] == "We look into it."


def test_readers_get_neither_timeline_nor_export(opened):
    client = APIClient()
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")

    for what in ("timeline", "export"):
        answer = client.get(f"/api/v1/incidents/{opened.pk}/{what}/")
        assert answer.status_code == 403


def test_export_has_all_of_it(api, admin, opened):
    opened.note("Ask *Ben*\n# x", at=minutes(1), author="ana")
    path = f"/api/v1/incidents/{opened.pk}/export/"

    as_json = json.loads(api.get(path).content)
    as_markdown = api.get(f"{path}?as=markdown").content.decode()
    by_admin = admin.get(f"/admin/incidents/incident/{opened.pk}/export/markdown/")

    kinds = [row["kind"] for row in as_json["timeline"]]
    assert kinds == ["OPENED", "IMPACT", "UPDATE", "NOTE"]
    assert as_markdown.startswith("# Orders fail\n\n- **State:** Investigating\n")
    assert "ana: Internal note\n\n> Ask *Ben*\n> # x\n" in as_markdown
    assert by_admin.content.decode().startswith("# Orders fail")
    assert "attachment" in by_admin.headers["Content-Disposition"]
    assert api.get(f"{path}?as=word").status_code == 400
    word = f"/admin/incidents/incident/{opened.pk}/export/word/"
    assert admin.get(word).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_incidents_of_before_get_the_timeline_that_is_known(opened, make_alert):
    alert = make_alert(opened.impacts.get().monitor)
    Incident.open_for(alert, at=NOW)
    TimelineEntry.objects.all()._raw_delete("default")
    carry = import_module("incidents.migrations.0007_carry_timeline_over")

    carry.carry_over(apps, None)

    kinds = list(opened.timeline.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["OPENED", "IMPACT", "UPDATE"]
    assert opened.timeline.get(kind="UPDATE").facts["body"] == "We look into it."
    of_alert = TimelineEntry.objects.get(kind="ALERT")
    assert of_alert.text.startswith("Alert triggered: Shop STATUS")
