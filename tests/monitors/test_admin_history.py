import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incidents.models import Incident
from monitors.models import Correction

AT = datetime(2024, 11, 20, 14, 2, 3, 457_000, tzinfo=UTC)


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def change_page(monitor):
    return f"/admin/monitors/monitor/{monitor.pk}/change/"


def explained(monitor, query=""):
    return f"/admin/monitors/monitor/{monitor.pk}/explained/{query}"


def row(page, words):
    """The table row with these words in it, as text."""
    rows = re.findall(r"<tr>.*?</tr>", page.content.decode(), re.S)
    [found] = [r for r in rows if words in r]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found))


def queries(client, path):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


# Uptime explained


def test_uptime_is_explained(admin, make_monitor, was):
    shop = make_monitor("shop", degraded_counts="half")
    was(shop, ("up", 1440), ("down", 36), ("degraded", 18), ("up", 60), ("no_data", 6))

    page = admin.get(explained(shop))
    said = text(page)

    # 1326.6 minutes of up, 36 of down, 18 that count half, and 6 that do not.
    assert re.search(r"Shop was up 96\.8\d+% of the time", said)
    assert "(up + 0.5 * degraded + 0.5 * partial) / " in said
    assert "why it was degraded" in row(page, "why it was degraded")
    assert "half as up, half as down 18 min 1,080" in said
    assert "No data not at all 6 min" in said
    until_now = row(page, "why it was no_data")
    assert " now 6 min No data" in until_now
    positions = [said.rindex(w) for w in ("why it was no_data", "why it was down")]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "24 hours"),
        ("?range=7d", "7 days"),
        ("?range=30d", "30 days"),
        ("?range=90d", "90 days"),
        ("?range=forever", "24 hours"),
    ],
)
def test_usual_times_are_a_link_away(admin, make_monitor, query, words):
    page = admin.get(explained(make_monitor("shop"), query)).content.decode()

    chosen = re.findall(r'aria-current="true">([^<]+)<', page)
    assert chosen == [words]


def test_any_time_can_be_asked_for(admin, make_monitor, was):
    shop = make_monitor("shop")
    was(shop, ("up", 60), ("down", 30), ("up", 60), until=AT)

    query = "?begin=2024-11-20T12:32:03.457&end=2024-11-20T13:02:03.457"
    page = admin.get(explained(shop, query))

    assert "Shop was up 0% of the time" in text(page)
    assert "30 min" in row(page, "why it was down")
    assert 'value="2024-11-20T12:32:03.457"' in page.content.decode()
    assert 'step="0.001"' in page.content.decode()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?begin=2020-01-02T00:00&end=2020-01-01T00:00", "has to be after"),
        ("?begin=2020-01-02T00:00&end=2020-01-02T00:00", "has to be after"),
        ("?begin=2999-01-01T00:00&end=2999-01-02T00:00", "is still to come"),
        ("?begin=1999-12-31T00:00&end=2020-01-01T00:00", "before the year 2000"),
        ("?begin=soon&end=2020-01-01T00:00", "Give a moment such as"),
        ("?begin=2020-01-01T00:00", "This field is required."),
    ],
)
def test_a_time_that_makes_no_sense_is_told(admin, make_monitor, query, words):
    page = text(admin.get(explained(make_monitor("shop"), query)))

    assert words in page
    assert "What it was" not in page.split("Corrections")[1]


def test_time_that_nobody_watched_has_no_percentage(admin, make_monitor):
    query = "?begin=2020-01-01T00:00&end=2020-01-02T00:00"

    page = text(admin.get(explained(make_monitor("shop"), query)))

    assert "Nobody knows how Shop was" in page
    assert "not watched" in page


def test_at_most_five_hundred_intervals_are_listed(admin, make_monitor, was):
    shop = make_monitor("shop")
    was(shop, *[("up", 1), ("down", 1)] * 300)

    page = admin.get(explained(shop))
    table = page.content.decode().split("<h2>Intervals</h2>")[1].split("</table>")[0]

    assert table.count("<tr>") == 1 + 500
    # The time before them was not watched, and is an interval too.
    assert "The newest 500; 101 older ones are left out" in text(page)
    assert "why it was down" in table.split("<tr>")[2]


def test_what_people_saw_is_drawn_beside_what_counts(admin, make_monitor, was):
    shop, now = make_monitor("shop"), timezone.now()
    was(shop, ("up", 2000))
    incident = Incident.open(
        title="Orders fail",
        summary="We look.",
        started_at=now - timedelta(hours=2),
        at=now,
        source="DASHBOARD",
        impacts={shop: "DOWN"},
    )

    counted = admin.get(explained(shop))
    shop.overlays.update(counts=False)
    only_shown = admin.get(explained(shop))

    where = f'href="/admin/incidents/incident/{incident.pk}/change/"'
    assert where in counted.content.decode()
    assert f"Incident {incident.pk}" in text(counted)
    assert "What people saw" not in text(counted)
    assert "What people saw" in text(only_shown)
    assert "counted as Up" in text(only_shown)


def test_intervals_lead_to_their_correction(admin, staff, make_monitor, was):
    shop = make_monitor("shop")
    was(shop, ("up", 60), ("down", 30), ("up", 60), until=AT)
    query = "?begin=2024-11-20T12:00:00&end=2024-11-20T14:00:00"

    page = unescape(admin.get(explained(shop, query)).content.decode())
    links = re.findall(r'href="(/admin/monitors/correction/add/[^"]+)">Correct…', page)
    form = admin.get(links[1]).content.decode()
    seen = staff("view_monitor").get(explained(shop, query)).content.decode()

    assert len(links) == 3
    assert 'value="2024-11-20T12:32:03.457"' in form
    assert 'value="2024-11-20T13:02:03.457"' in form
    assert f'<option value="{shop.pk}" selected>Shop</option>' in form
    assert "Correct…" not in seen


def test_a_correction_leaves_nothing_of_its_interval(admin, make_monitor, was):
    shop, now = make_monitor("shop"), timezone.now()
    was(shop, ("up", 2000))
    # Overlays begin and end by the microsecond.
    begin = now.replace(microsecond=100_001) - timedelta(minutes=30)
    shop.overlays.create(
        kind="incident",
        status="down",
        started_at=begin,
        ended_at=begin + timedelta(minutes=5),
        cause="incident:7",
    )

    page = unescape(admin.get(explained(shop)).content.decode())
    link = re.findall(r'href="([^"]+)">Correct…', page)[1]
    asked = dict(parse_qsl(urlsplit(link).query))
    admin.post(link, {**asked, "status": "up", "reason": "It was not"})

    assert "Shop was up 100% of the time" in text(admin.get(explained(shop)))


@pytest.mark.parametrize("asked", ["9" * 30, "9" * 5000, "x", "-1"])
def test_a_monitor_that_cannot_be_is_none(admin, asked):
    page = admin.get(f"/admin/monitors/correction/add/?monitor={asked}")

    assert page.status_code == 200


def test_only_who_may_see_monitors_sees_them_explained(staff, make_monitor):
    shop = make_monitor("shop")

    assert staff("view_incident").get(explained(shop)).status_code == 403


def test_a_deleted_monitor_is_explained_and_corrected_too(admin, make_monitor):
    shop = make_monitor("shop")
    shop.retire(at=timezone.now())

    page = admin.get(explained(shop))
    form = admin.get(f"/admin/monitors/correction/add/?monitor={shop.pk}")
    other = admin.get("/admin/monitors/correction/add/")

    assert page.status_code == 200
    assert ">Shop</option>" in form.content.decode()
    assert ">Shop</option>" not in other.content.decode()


def test_no_monitor_no_explanation(admin):
    assert admin.get("/admin/monitors/monitor/7/explained/").status_code == 404


def test_the_drawing_is_sound_and_marks_what_was_corrected(
    admin, make_monitor, was, correct
):
    shop = make_monitor("shop")
    was(shop, ("up", 60), ("down", 30), ("maintenance", 30), ("no_data", 30), until=AT)
    correct(shop, "degraded", at=AT - timedelta(hours=2))
    query = "?begin=2024-11-20T12:00:00&end=2024-11-20T14:00:00"

    page = admin.get(explained(shop, query)).content.decode()
    drawing = ElementTree.fromstring(re.search(r"<figure.*?</figure>", page, re.S)[0])

    looks = {g.get("class") for g in drawing.iterfind("svg//g")}
    assert looks >= {"up", "down", "degraded", "maintenance", "no_data"}
    marks = drawing.findall("svg/rect[@class='corrected']")
    assert [mark.find("title").text for mark in marks] == [
        "Corrected, 20 Nov 12:01 to 12:07 UTC"
    ]


# Corrections


def given(monitor, **more):
    return {
        "monitor": monitor.pk,
        "started_at": "2024-11-20T14:02:03.457",
        "ended_at": "2024-11-20T14:05:03.512",
        "status": "up",
        "reason": "The firewall was ours",
        **more,
    }


def test_history_is_corrected_by_who_is_logged_in(admin, make_monitor, was):
    shop = make_monitor("shop")
    was(shop, ("up", 60), ("down", 30), ("up", 60), until=AT + timedelta(hours=1))
    add = "/admin/monitors/correction/add/"

    page = admin.post(add, given(shop, author="somebody"), follow=True)

    correction = Correction.objects.get()
    assert correction.author == "ana"
    assert correction.started_at == AT
    assert correction.ended_at == AT + timedelta(minutes=3, milliseconds=55)
    assert "The correction is in force. It can be undone." in text(page)
    assert "Up corrected" in row(page, "Corrected by ana: The firewall was ours")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ended_at": "2999-01-01T00:00"}, "Only what is over can be corrected."),
        ({"ended_at": "2024-11-20T14:02:03"}, "The end has to be after the beginning."),
        ({"started_at": "then"}, "Give a moment such as 2026-11-21T14:02:03, in UTC."),
        ({"status": "partial"}, "Select a valid choice."),
        ({"reason": ""}, "This field is required."),
    ],
)
def test_what_cannot_be_corrected_is_told(admin, make_monitor, change, words):
    shop = make_monitor("shop")

    page = admin.post("/admin/monitors/correction/add/", given(shop, **change))

    assert words in text(page)
    assert "UTC." in text(page)
    assert not Correction.objects.exists()


def test_a_correction_is_never_edited_or_deleted(admin, make_monitor, correct):
    correction = correct(make_monitor("shop"))
    page = f"/admin/monitors/correction/{correction.pk}"

    shown = text(admin.get(f"{page}/change/"))
    edited = admin.post(f"{page}/change/", given(correction.monitor, reason="No"))
    deleted = admin.post(f"{page}/delete/", {"post": "yes"})

    assert "The firewall was ours" in shown
    assert "after 5 min" in shown
    assert (edited.status_code, deleted.status_code) == (403, 403)
    assert Correction.objects.get().reason == "The firewall was ours"


def undo(client, *corrections, **more):
    return client.post(
        "/admin/monitors/correction/",
        {
            "_selected_action": [c.pk for c in corrections],
            "action": "undo",
            "index": 0,
            **more,
        },
        follow=True,
    )


def test_undoing_asks_first_and_goes_back(admin, make_monitor, correct):
    correction = correct(make_monitor("shop"))
    page = f"/admin/monitors/correction/{correction.pk}/change/"

    asked = undo(admin, correction, next=page)
    still = Correction.objects.in_force().exists()
    done = undo(admin, correction, next=page, confirmed="yes")

    assert "Undo one correction?" in text(asked)
    assert f'name="next" value="{page}"' in asked.content.decode()
    assert still
    correction.refresh_from_db()
    assert correction.undone_by == "ana"
    assert done.redirect_chain[-1][0] == page
    assert "One correction undone" in text(done)
    assert "undone by ana" in text(done)
    assert "None of these is in force any more." in text(undo(admin, correction))


def test_corrections_are_filtered_by_whether_they_are_in_force(
    admin, make_monitor, correct
):
    shop = make_monitor("shop")
    correct(shop, reason="Kept")
    correct(shop, reason="Taken back").undo(by="bo", at=timezone.now())
    where = "/admin/monitors/correction/"

    def seen(query):
        page = text(admin.get(where + query))
        return "Kept" in page, "Taken back" in page

    assert seen("") == (True, True)
    assert seen("?in_force=yes") == (True, False)
    assert seen("?in_force=no") == (False, True)


def test_the_page_of_a_monitor_shows_its_corrections(admin, make_monitor, correct):
    shop = make_monitor("shop")

    before = text(admin.get(change_page(shop)))
    correct(shop).undo(by="bo", at=timezone.now())
    after = row(admin.get(change_page(shop)), "The firewall was ours")

    assert "Nobody has corrected its history." in before
    assert "It was up" in after
    assert "undone by bo" in after


def test_who_only_sees_corrects_nothing(staff, make_monitor, correct):
    correction = correct(make_monitor("shop"))
    client = staff("view_monitor", "view_correction")

    undo(client, correction, confirmed="yes")
    shown = client.get(f"/admin/monitors/correction/{correction.pk}/change/")
    added = client.post("/admin/monitors/correction/add/", given(correction.monitor))

    assert Correction.objects.in_force().get() == correction
    assert "Undo" not in text(shown)
    assert added.status_code == 403


def test_the_list_of_corrections_takes_as_many_queries_for_one_as_for_many(
    admin, make_monitor, correct
):
    where = "/admin/monitors/correction/"
    correct(make_monitor("first"))
    admin.get(where)
    one = queries(admin, where)
    for n in range(29):
        correct(make_monitor(f"more-{n}"))

    assert queries(admin, where) == one
