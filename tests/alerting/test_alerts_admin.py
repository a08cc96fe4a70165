import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import announcing, exporting
from alerting.models import Alert, FlapDetection, RuleState, Transition
from incidents.models import Incident
from monitors.models import Label, MonitorState

LOG = "/admin/alerting/alert/"


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def act(client, action, *rows, **more):
    given = {"_selected_action": [r.pk for r in rows], "action": action, "index": 0}
    return client.post(LOG, {**given, **more}, follow=True)


def resolved(alert):
    alert.resolve(reason="It is over.", at=timezone.now())
    announcing.announce_due()
    return Alert.objects.get(pk=alert.pk)


def listed(admin, query):
    """The numbers of the alerts in the list, newest first."""
    page = admin.get(f"{LOG}?{query}")
    assert page.status_code == 200
    body = page.content.decode().split("<tbody>")
    if len(body) == 1:
        return []
    return [int(n) for n in re.findall(r'field-number">(\d+)<', body[1])]


def export(client, kind, query=""):
    page = client.get(f"{LOG}export/{kind}/?{query}")
    assert page.status_code == 200
    return b"".join(page.streaming_content).decode()


@pytest.fixture
def reader(db):
    """Somebody who may look at alerts and do nothing else."""
    user = get_user_model().objects.create_user("bo", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_alert"))
    client = Client()
    client.force_login(user)
    return client


# The log


def test_the_log_is_filtered(admin, make_monitor, make_rule, triggered):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    shop.label([Label.objects.create(name="payments")])
    label = Label.objects.get()
    rule = make_rule(shop, bank)
    first, second = triggered(rule, shop), triggered(rule, bank)
    third = triggered(make_rule(shop, name="Other", severity="CRITICAL"), shop)
    first.acknowledge(by="ana", at=timezone.now())
    resolved(third)
    Alert.objects.filter(pk=second.pk).update(
        withheld="flapping", monitor_kind="tocsin"
    )

    assert listed(admin, "") == [third.pk, second.pk, first.pk]
    assert listed(admin, "state=triggered") == [second.pk, first.pk]
    assert listed(admin, "state=acknowledged") == [first.pk]
    assert listed(admin, "state=withheld") == [second.pk]
    assert listed(admin, "state=unattended") == []
    assert listed(admin, "state=resolved") == [third.pk]
    assert listed(admin, "severity__exact=CRITICAL") == [third.pk]
    assert listed(admin, f"rule__id__exact={rule.pk}") == [second.pk, first.pk]
    assert listed(admin, f"monitor__id__exact={shop.pk}") == [third.pk, first.pk]
    assert listed(admin, f"label={label.pk}") == [third.pk, first.pk]
    assert listed(admin, "alert_for=LATENCY") == []
    assert listed(admin, "monitor_kind=tocsin") == [second.pk]
    assert listed(admin, "q=bank") == [second.pk]
    assert listed(admin, f"q={first.pk}") == [first.pk]


@pytest.mark.parametrize(
    "query", ["label=x", "monitor__id__exact=99999999999999999999"]
)
def test_a_filter_that_names_nothing_finds_nothing(admin, query):
    assert listed(admin, query) == []


def test_the_log_is_filtered_by_days(admin, make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    old, new = triggered(make_rule(shop), shop), triggered(make_rule(shop), shop)
    moments = {old: datetime(2026, 3, 1, 23, 59, 59), new: datetime(2026, 3, 2)}
    for alert, at in moments.items():
        Alert.objects.filter(pk=alert.pk).update(triggered_at=at.replace(tzinfo=UTC))

    assert listed(admin, "until=2026-03-01") == [old.pk]
    assert listed(admin, "since=2026-03-02") == [new.pk]
    assert listed(admin, "since=2026-03-01&until=2026-03-02") == [new.pk, old.pk]
    assert listed(admin, "since=2026-13-41&until=soon") == [new.pk, old.pk]
    page = admin.get(f"{LOG}?since=2026-03-02&q=shop").content.decode()
    assert '<input type="hidden" name="q" value="shop">' in page
    assert 'name="since" value="2026-03-02"' in page


def test_a_row_says_what_people_are_told(admin, make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)
    Alert.objects.update(withheld="flapping", observed="1,200 ms", incident_number=7)

    shown = text(admin.get(LOG))

    assert "held back: flapping" in shown
    assert "1,200 ms" in shown
    assert "Incident 7" in shown
    assert f" {alert.pk} " in shown


def test_the_log_needs_the_same_queries_for_any_number(
    admin, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    triggered(make_rule(shop), shop)
    admin.get(LOG)
    with CaptureQueriesContext(connection) as one:
        admin.get(LOG)
    for _ in range(29):
        triggered(make_rule(shop), shop)

    with CaptureQueriesContext(connection) as thirty:
        assert len(listed(admin, "")) == 30

    assert len(thirty) == len(one)


# As a file


def test_the_list_is_exported_as_it_is_filtered(
    admin, make_monitor, make_rule, triggered
):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    rule = make_rule(shop, bank)
    first = triggered(rule, shop)
    triggered(rule, bank)

    [row] = csv.DictReader(io.StringIO(export(admin, "csv", "q=shop")))
    told = json.loads(export(admin, "json", f"monitor__id__exact={shop.pk}"))

    assert (row["id"], row["monitor"], row["state"]) == (
        str(first.pk),
        "shop",
        "TRIGGERED",
    )
    assert [alert["id"] for alert in told["alerts"]] == [first.pk]
    assert told["is_cut"] is False
    assert told["alerts"][0]["resolved_at"] is None
    assert told["alerts"][0]["triggered_at"].endswith("Z")
    assert "export/csv/?q=shop" in admin.get(f"{LOG}?q=shop").content.decode()


def test_an_empty_list_is_exported_as_well(admin):
    assert json.loads(export(admin, "json")) == {"alerts": [], "is_cut": False}
    assert export(admin, "csv").splitlines() == [",".join(exporting.COLUMNS)]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_csv_is_a_formula(
    admin, make_monitor, make_rule, triggered, start
):
    shop = make_monitor("shop")
    triggered(make_rule(shop), shop)
    Alert.objects.update(error=f"{start}cmd|' /C calc'!A0", note='a,"b"\nc')

    [row] = csv.DictReader(io.StringIO(export(admin, "csv"), newline=""))

    assert row["error"] == f"'{start}cmd|' /C calc'!A0"
    assert row["note"] == 'a,"b"\nc'


def test_an_export_that_is_cut_off_says_so(
    admin, make_monitor, make_rule, triggered, monkeypatch
):
    monkeypatch.setattr(exporting, "MOST_ROWS", 2)
    shop = make_monitor("shop")
    for _ in range(3):
        triggered(make_rule(shop), shop)

    *_, last = csv.reader(io.StringIO(export(admin, "csv")))
    told = json.loads(export(admin, "json"))

    assert last == [exporting.CUT]
    assert (len(told["alerts"]), told["is_cut"]) == (2, True)


def test_an_export_of_anything_else_leads_back_to_the_list(admin, client, reader):
    assert admin.get(f"{LOG}export/xml/")["Location"] == LOG
    assert admin.get(f"{LOG}export/csv/?nonsense=1").status_code == 302
    assert client.get(f"{LOG}export/csv/").status_code == 302
    assert reader.get(f"{LOG}export/csv/").status_code == 200


# Deleting, and what another product does wrong


def test_a_resolved_alert_is_deleted_and_its_incident_stays(
    admin, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)
    announcing.announce_due()
    alert = resolved(alert)

    asked = text(act(admin, "remove", alert))
    assert "Delete one alert?" in asked
    assert "Its incident stays" in asked
    assert Alert.objects.exists()
    shown = text(act(admin, "remove", alert, confirmed="yes"))

    assert "One alert deleted; incidents stay." in shown
    assert not Alert.objects.exists()
    assert not Transition.objects.exists()
    assert Incident.objects.count() == 1


def test_deleting_an_alert_that_still_fails_is_not_possible(
    admin, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)
    announcing.announce_due()
    page = f"{LOG}{alert.pk}/delete/"

    refused = text(act(admin, "remove", alert, confirmed="yes"))

    assert "Only alerts that have resolved can be deleted." in refused
    assert admin.post(page, {"post": "yes"}).status_code == 403
    act(admin, "delete_selected", alert, post="yes")
    assert not alert.remove()
    assert Alert.objects.get() == alert


def test_an_alert_whose_end_nobody_has_heard_of_is_not_deleted(
    admin, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)
    announcing.announce_due()
    alert.resolve(reason="It is over.", at=timezone.now())

    assert not alert.remove()
    announcing.announce_due()

    assert Incident.objects.get().state == "RESOLVED"
    assert alert.remove()


def test_a_page_of_a_resolved_alert_can_delete_it(
    admin, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    alert = resolved(triggered(make_rule(shop), shop))
    page = f"{LOG}{alert.pk}/delete/"

    assert "Its incident stays" in text(admin.get(page))
    admin.post(page, {"post": "yes"})

    assert not Alert.objects.exists()


def test_setting_an_old_alert_to_triggered_is_not_possible(
    admin, api, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    alert = resolved(triggered(make_rule(shop), shop))

    posted = admin.post(f"{LOG}{alert.pk}/change/", {"state": "TRIGGERED"})
    patched = api.patch(f"/api/v1/alerts/{alert.pk}/", {"state": "TRIGGERED"})

    assert (posted.status_code, patched.status_code) == (403, 405)
    assert Alert.objects.get().state == "RESOLVED"


def test_resolving_by_hand_while_it_fails_starts_from_zero_and_closes_the_incident(
    admin, make_monitor, make_rule, triggered
):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)
    announcing.announce_due()
    RuleState.objects.update_or_create(
        rule=rule,
        monitor=shop,
        defaults={
            "failures": 3,
            "is_triggered": True,
            "counts_from": timezone.now() - timedelta(hours=1),
        },
    )

    act(admin, "resolve", alert)

    state = RuleState.objects.get()
    assert (state.failures, state.is_triggered) == (0, False)
    incident = Incident.objects.get()
    assert incident.state == "RESOLVED"
    newest = incident.updates.order_by("-at", "-pk").first()
    assert "Resolved by hand by ana." in newest.body


def test_who_may_only_look_can_do_nothing(reader, make_monitor, make_rule, triggered):
    shop = make_monitor("shop")
    alert = triggered(make_rule(shop), shop)

    page = reader.get(f"{LOG}{alert.pk}/change/").content.decode()
    for action in ("acknowledge", "resolve", "remove"):
        act(reader, action, alert, confirmed="yes", how_long="60")

    assert "Resolve by hand" not in page
    assert "Silence for" not in page
    kept = Alert.objects.get()
    assert (kept.state, kept.acknowledged_at) == ("TRIGGERED", None)
    quick = {"monitor": shop.pk, "length": "1h"}
    assert reader.post("/admin/alerting/silence/quick/", quick).status_code == 403


# Flapping


FLAP = "/admin/alerting/flapdetection/"


def test_flap_detection_is_one_page_that_is_always_there(admin):
    page = admin.get(FLAP, follow=True)
    assert page.redirect_chain[-1][0] == f"{FLAP}1/change/"
    assert "Begins at" in text(page)

    given = {"is_on": "on", "start_percent": 40, "stop_percent": 25}
    admin.post(f"{FLAP}1/change/", {**given, "escape_minutes": 5})
    admin.post(f"{FLAP}1/change/", {**given, "escape_minutes": 6})

    [kept] = FlapDetection.objects.all()
    assert (kept.start_percent, kept.stop_percent, kept.escape_minutes) == (40, 25, 6)
    assert admin.get(f"{FLAP}add/").status_code == 403
    assert admin.get(f"{FLAP}1/delete/").status_code == 403


def test_flapping_has_to_end_below_where_it_begins(admin):
    given = {"start_percent": 20, "stop_percent": 20, "escape_minutes": 5}

    page = admin.post(f"{FLAP}1/change/", given)

    assert "It has to end below where it begins." in text(page)


def test_who_may_only_look_at_alerts_does_not_see_flap_detection(reader):
    assert reader.get(FLAP).status_code == 403


def test_a_monitor_that_flaps_says_how_much(admin, make_monitor):
    shop = make_monitor("shop")
    packed = int("".join("001" if n % 2 else "100" for n in range(21)), 2)
    MonitorState.objects.update(is_flapping=True, recent=packed)

    for page in (
        "/admin/monitors/monitor/",
        f"/admin/monitors/monitor/{shop.pk}/change/",
    ):
        assert "Flapping 100 %" in text(admin.get(page))

    MonitorState.objects.update(is_flapping=False)
    assert "Flapping 100 %" not in text(admin.get("/admin/monitors/monitor/"))
