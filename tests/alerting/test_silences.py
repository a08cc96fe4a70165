import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerting.models import Silence
from alerting.silences import Covering, Times, Weekly
from alerting.silences_admin import end_of
from monitors.models import Label

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "America/Asuncion",
    "Pacific/Apia",
    "Africa/Casablanca",
]
MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


# Times, slowly: minute by minute, by looking at the clock on the wall


@cache
def walls(zone, day):
    """Each minute of some days, and what clocks show in it."""
    midnight = datetime.combine(day, time(), UTC)
    around = (midnight + n * MINUTE for n in range(-2 * 1440, 4 * 1440))
    return [(at, at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)) for at in around]


def slowly(weekly, day):
    """The minutes of the silence that begins on a day."""
    last = day + timedelta(days=weekly.end <= weekly.begin)
    around = walls(weekly.zone, day)
    begin = datetime.combine(day, weekly.begin)
    end = datetime.combine(last, weekly.end)
    first = next(at for at, wall in around if wall >= begin)
    still = [at for at, wall in around if wall < end]
    return {at for at, _ in around if first <= at <= still[-1]}


@st.composite
def weeklies(draw):
    minutes = st.integers(0, 24 * 60 - 1)
    begin, end = (time(*divmod(draw(minutes), 60)) for _ in range(2))
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    return Weekly(days, begin, end, draw(st.sampled_from(ZONES)))


# Days on which clocks change somewhere, and others.
days = st.sampled_from(
    [
        *(date(2026, 3, 8), date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1)),
        *(date(2026, 4, 5), date(2026, 10, 4), date(2024, 3, 24), date(2024, 10, 6)),
        *(date(2011, 12, 30), date(2026, 2, 15), date(2026, 6, 17)),
    ]
)


@settings(deadline=None, max_examples=100)
@given(weeklies(), days, st.integers(-1440, 2 * 1440))
@example(
    Weekly(frozenset({6}), time(2, 15), time(2, 45), "Europe/Berlin"),
    date(2026, 3, 29),
    60,
)
@example(
    Weekly(frozenset({6}), time(1), time(2, 30), "Europe/Berlin"),
    date(2026, 10, 25),
    70,
)
def test_weekly_covers_what_a_slow_look_at_the_clock_says(weekly, day, minutes):
    at = datetime.combine(day, time(), UTC) + minutes * MINUTE
    starting = [day + timedelta(days=n) for n in range(-3, 4)]
    covered = set()
    for one in starting:
        if one.weekday() in weekly.weekdays:
            covered |= slowly(weekly, one)

    until = Times(at - timedelta(days=99), weekly=weekly).until(at)

    assert (until is not None) == (at in covered)
    if until is not None and until < at + timedelta(days=1):
        assert until - MINUTE in covered
        assert until not in covered


@pytest.mark.parametrize(
    ("at", "is_covered"),
    [
        ("2026-03-27T21:30", True),  # Friday, 22:30 in Berlin
        ("2026-03-28T05:00", False),  # 06:00
        ("2026-03-28T20:59", False),  # Saturday: it begins on Fridays only
        ("2026-03-27T20:59", False),
    ],
)
def test_a_night_is_covered_from_its_own_evening(at, is_covered):
    weekly = Weekly(frozenset({4}), time(22), time(6), "Europe/Berlin")

    assert Times(utc("2026-01-01"), weekly=weekly).covers(utc(at)) == is_covered


def test_the_night_in_which_clocks_go_forward_is_an_hour_shorter():
    weekly = Weekly(frozenset({5}), time(22), time(6), "Europe/Berlin")

    begin, end = utc("2026-03-28T21:00"), utc("2026-03-29T04:00")
    assert weekly.until(begin) == end
    assert weekly.until(begin - MINUTE) is None


def test_an_hour_that_comes_twice_is_covered_twice():
    weekly = Weekly(frozenset({6}), time(2), time(3), "Europe/Berlin")

    assert weekly.until(utc("2026-10-25T00:00")) == utc("2026-10-25T02:00")


def test_an_hour_that_does_not_come_is_not_covered():
    weekly = Weekly(frozenset({6}), time(2), time(3), "Europe/Berlin")

    assert weekly.until(utc("2026-03-29T01:00")) is None
    assert weekly.until(utc("2026-03-29T00:59")) is None


def test_what_follows_without_a_gap_is_one_covering():
    days = frozenset({5, 6})
    weekly = Weekly(days, time(0), time(0), "UTC")

    assert weekly.until(utc("2026-03-07T10:00")) == utc("2026-03-09T00:00")


def test_always_has_an_end_to_look_again_at():
    always = Weekly(frozenset(range(7)), time(8), time(8), "UTC")

    until = Times(NOON, weekly=always).until(NOON + timedelta(days=20))

    assert timedelta(days=6) < until - (NOON + timedelta(days=20)) < timedelta(days=9)


@pytest.mark.parametrize(
    ("times", "until"),
    [
        (Times(NOON, NOON + 9 * MINUTE), NOON + 9 * MINUTE),
        (Times(NOON + MINUTE, NOON + 9 * MINUTE), None),
        (Times(NOON - MINUTE, NOON), None),
        (Times(NOON, NOON + 9 * MINUTE, ended_at=NOON), None),
        (Times(NOON, NOON + 9 * MINUTE, ended_at=NOON + MINUTE), NOON + MINUTE),
        (
            Times(
                NOON,
                NOON + MINUTE,
                Weekly(frozenset({0}), time(11), time(13), "UTC"),
            ),
            NOON + MINUTE,
        ),
    ],
)
def test_it_ends_with_whatever_ends_first(times, until):
    assert times.until(NOON) == until


# Whom it silences


@pytest.mark.parametrize(
    ("names", "is_covered"),
    [
        ({"silences_all": True}, True),
        ({}, False),
        ({"monitors": {1}}, True),
        ({"monitors": {2}}, False),
        ({"labels": {7}}, True),
        ({"labels": {8}}, False),
        ({"monitors": {2}, "labels": {7}}, True),
        ({"rules": {3}}, True),
        ({"rules": {4}}, False),
        ({"rules": {3}, "monitors": {1}}, True),
        ({"rules": {4}, "monitors": {1}}, False),
        ({"rules": {3}, "monitors": {2}}, False),
        ({"rules": {3}, "labels": {7}}, True),
    ],
)
def test_monitors_and_labels_say_where_and_rules_say_what(names, is_covered):
    nobody = dict.fromkeys(("monitors", "rules", "labels"), frozenset())
    given_names = {"silences_all": False, **nobody, **names}
    covering = Covering(id=1, reason="", until=NOON, **given_names)

    assert covering.covers(3, 1, {7}) == is_covered


@pytest.fixture
def make_silence(db):
    def make(*monitors, rules=(), labels=(), **more):
        at = timezone.now()
        more = {"starts_at": at, "ends_at": at + timedelta(hours=1), **more}
        silence = Silence(reason="Planned work", **more)
        silence.full_clean()
        silence.save()
        silence.monitors.set(monitors)
        silence.rules.set(rules)
        silence.labels.set(labels)
        return silence

    return make


def test_nothing_covers_in_one_query(db, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert Silence.covering(timezone.now()) == []


def test_many_cover_in_four_queries(
    make_silence, make_monitor, make_rule, django_assert_num_queries
):
    shop = make_monitor("shop")
    rule, label = make_rule(shop), Label.objects.create(name="payments")
    for _ in range(10):
        made = make_silence(shop, rules=[rule], labels=[label])

    with django_assert_num_queries(4):
        found = Silence.covering(timezone.now())

    assert len(found) == 10
    last = next(covering for covering in found if covering.id == made.pk)
    assert (last.monitors, last.rules, last.labels) == (
        {shop.pk},
        {rule.pk},
        {label.pk},
    )
    assert last.until == made.ends_at


def test_ending_by_hand_twice_changes_nothing(make_silence):
    silence = make_silence(silences_all=True)
    at = timezone.now()

    assert silence.covers(at)
    assert silence.end(at=at)
    assert not Silence.objects.get().end(at=at + MINUTE)
    assert Silence.objects.get().ended_at == at
    assert Silence.covering(at) == []


def test_one_that_is_over_is_not_ended(make_silence):
    at = timezone.now()
    silence = make_silence(silences_all=True, starts_at=at, ends_at=at + MINUTE)

    assert not silence.end(at=at + 2 * MINUTE)
    assert Silence.objects.get().ended_at is None


@pytest.mark.parametrize(
    ("given_times", "field"),
    [
        ({"ends_at": None}, "ends_at"),
        ({"ends_at": NOON - MINUTE}, "ends_at"),
        ({"weekdays": [7]}, "weekdays"),
        ({"weekdays": ["0"]}, "weekdays"),
        ({"weekdays": [True]}, "weekdays"),
        ({"weekdays": [0]}, "from_time"),
        ({"weekdays": [0], "from_time": time(8)}, "from_time"),
        ({"from_time": time(8), "until_time": time(9)}, "weekdays"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
    ],
)
def test_times_that_cannot_be_are_refused_at_their_field(given_times, field):
    times = {"starts_at": NOON, "ends_at": NOON + MINUTE, **given_times}

    with pytest.raises(ValidationError) as refused:
        Silence(reason="x", **times).clean()

    assert list(refused.value.error_dict) == [field]


def test_silences_of_a_monitor_and_of_a_rule(make_silence, make_monitor, make_rule):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    label = Label.objects.create(name="payments")
    shop.label([label])
    rule = make_rule(shop)
    every, at_shop = make_silence(silences_all=True), make_silence(shop)
    by_label, of_rule = make_silence(labels=[label]), make_silence(rules=[rule])
    make_silence(bank)

    assert set(Silence.objects.of_monitor(shop)) == {every, at_shop, by_label, of_rule}
    found = Silence.objects.of_monitor(shop).of_rule(rule)
    assert set(found) == {every, at_shop, by_label, of_rule}
    other = make_rule(bank)
    assert of_rule not in Silence.objects.of_rule(other)


# The admin

SILENCE = {
    "reason": "New disks",
    "starts_at": "2026-03-02T12:00:00",
    "ends_at": "2026-03-02T14:00:00",
    "time_zone": "UTC",
}
ADD = "/admin/alerting/silence/add/"


def test_a_silence_is_made_for_monitors(admin, make_monitor):
    shop = make_monitor("shop")

    admin.post(ADD, {**SILENCE, "monitors": [shop.pk]})

    silence = Silence.objects.get()
    assert (silence.author, list(silence.monitors.all())) == ("ana", [shop])
    assert silence.ends_at == utc("2026-03-02T14:00")


def test_a_silence_for_nobody_is_refused(admin):
    page = admin.post(ADD, SILENCE)

    assert "Choose every alert, or at least one monitor, rule or label." in text(page)
    assert not Silence.objects.exists()


def test_a_silence_comes_again_on_the_days_that_are_ticked(admin):
    given_week = {
        "silences_all": "on",
        "ends_at": "",
        "weekdays": ["0", "4"],
        "from_time": "22:00",
        "until_time": "06:00",
        "time_zone": "Europe/Berlin",
    }

    admin.post(ADD, {**SILENCE, **given_week})
    silence = Silence.objects.get()
    page = admin.get(f"/admin/alerting/silence/{silence.pk}/change/").content.decode()

    assert silence.weekdays == [0, 4]
    assert len(re.findall(r'name="weekdays"[^>]+checked', page)) == 2
    shown = text(admin.get("/admin/alerting/silence/"))
    assert "Mon, Fri, 22:00 to 06:00, Europe/Berlin" in shown


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize(
    ("length", "end"),
    [
        ("1h", "2026-03-02T13:00"),
        ("4h", "2026-03-02T16:00"),
        ("1d", "2026-03-03T12:00"),
        ("monday", "2026-03-09T08:00"),
    ],
)
def test_one_click_silences_a_rule_on_a_monitor(
    admin, make_monitor, make_rule, triggered, length, end
):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    alert = triggered(rule, shop)
    page = f"/admin/alerting/alert/{alert.pk}/change/"

    assert "Until Monday 08:00 UTC" in text(admin.get(page))
    answer = admin.post(
        "/admin/alerting/silence/quick/",
        {"monitor": shop.pk, "rule": rule.pk, "length": length, "next": page},
    )

    silence = Silence.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert silence.ends_at == utc(end)
    assert (list(silence.monitors.all()), list(silence.rules.all())) == ([shop], [rule])
    assert "Silenced by ana" in text(admin.get(page))


def test_monday_is_the_one_to_come():
    early = utc("2026-03-02T07:59")

    assert end_of("monday", early) == utc("2026-03-02T08:00")
    assert end_of("monday", utc("2026-03-02T08:00")) == utc("2026-03-09T08:00")


@pytest.mark.parametrize("kind", ["monitor", "rule"])
def test_the_page_of_what_is_silenced_shows_it(
    admin, make_monitor, make_rule, make_silence, kind
):
    shop = make_monitor("shop")
    rule = make_rule(shop)
    make_silence(silences_all=True)
    pk, app = (
        (shop.pk, "monitors/monitor")
        if kind == "monitor"
        else (
            rule.pk,
            "alerting/alertrule",
        )
    )

    page = admin.get(f"/admin/{app}/{pk}/change/")

    assert "Planned work" in text(page)
    assert "Silence for 4 h" in text(page)
    assert f'name="{kind}" value="{pk}"' in page.content.decode()


@pytest.mark.parametrize("given_form", [{}, {"length": "9y"}, {"monitor": "0"}])
def test_a_click_that_says_nothing_silences_nothing(admin, make_monitor, given_form):
    given_form = {"monitor": make_monitor().pk, "length": "1h", **given_form}
    if given_form["monitor"] and given_form["length"] == "1h":
        given_form["monitor"] = "x"

    admin.post("/admin/alerting/silence/quick/", given_form)

    assert not Silence.objects.exists()
    assert admin.get("/admin/alerting/silence/quick/").status_code == 405


def test_ending_now_is_noted_and_nothing_is_deleted(admin, make_silence):
    silence = make_silence(silences_all=True)
    row = {"_selected_action": [silence.pk], "action": "end_now", "index": 0}

    shown = text(admin.post("/admin/alerting/silence/", row, follow=True))

    assert "One silence ended" in shown
    assert "Ended by hand" in shown
    page = f"/admin/alerting/silence/{silence.pk}"
    assert "Ended by hand." in text(admin.get(f"{page}/history/"))
    assert admin.get(f"{page}/delete/").status_code == 403
    assert admin.post(f"{page}/change/", SILENCE).status_code == 403


def test_the_list_is_filtered_by_when(admin, make_silence):
    at = timezone.now()
    hour = timedelta(hours=1)
    make_silence(silences_all=True)
    make_silence(silences_all=True, starts_at=at + hour, ends_at=at + 2 * hour)
    make_silence(silences_all=True, starts_at=at - 2 * hour, ends_at=at - hour)

    def standing(query):
        page = admin.get(f"/admin/alerting/silence/?when={query}").content.decode()
        body = page.split("<tbody>")[1].split("</tbody>")[0]
        return re.findall(r"</svg>(\w+)</span>", body)

    assert standing("now") == ["Silenced"]
    assert standing("comes") == ["Comes"]
    assert standing("over") == ["Over"]
    assert len(standing("")) == 3


@pytest.mark.parametrize("path", ["/admin/alerting/silence/", "/api/v1/silences/"])
def test_lists_need_the_same_queries_for_any_number(
    admin, api, make_silence, make_monitor, make_rule, path
):
    client = admin if path.startswith("/admin") else api
    shop = make_monitor("shop")
    rule = make_rule(shop)
    make_silence(shop, rules=[rule])
    client.get(path)
    with CaptureQueriesContext(connection) as one:
        client.get(path)
    for _ in range(29):
        make_silence(shop, rules=[rule])

    with CaptureQueriesContext(connection) as thirty:
        assert client.get(path).status_code == 200

    assert len(thirty) == len(one)


# The API


def test_silence_is_created_over_the_api_and_ended(api, make_monitor, make_rule):
    shop = make_monitor("shop")
    rule, label = make_rule(shop), Label.objects.create(name="payments")
    asked = {
        "reason": "New disks",
        "monitors": ["shop"],
        "rules": [rule.pk],
        "labels": [label.name],
        "ends_at": (timezone.now() + timedelta(hours=1)).isoformat(),
    }

    answer = api.post("/api/v1/silences/", asked)

    assert answer.status_code == 201
    shown = answer.json()
    assert shown["covers_now"] is True
    assert (shown["author"], shown["ended_at"]) == ("key tests", None)
    assert shown["monitors"] == ["shop"]
    ended = api.post(f"/api/v1/silences/{shown['id']}/end/").json()
    assert ended["ended_at"] is not None
    assert ended["covers_now"] is False
    assert api.post(f"/api/v1/silences/{shown['id']}/end/").json() == ended
    assert api.delete(f"/api/v1/silences/{shown['id']}/").status_code == 405


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"silences_all": False}, "monitors"),
        ({"ends_at": None}, "ends_at"),
        ({"weekdays": [7]}, "weekdays"),
        ({"weekdays": [1]}, "from_time"),
        ({"labels": ["nobody"]}, "labels"),
        ({"ended_at": "2026-01-01T00:00:00Z"}, "ended_at"),
    ],
)
def test_unfit_silence_is_refused_by_field(api, db, change, field):
    end = (timezone.now() + timedelta(hours=1)).isoformat()
    asked = {"reason": "x", "silences_all": True, "ends_at": end, **change}

    answer = api.post("/api/v1/silences/", asked)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert not Silence.objects.exists()


def test_silences_are_filtered(api, make_silence, make_monitor):
    shop = make_monitor("shop")
    make_monitor("bank")
    at = timezone.now()
    here = make_silence(shop)
    over = make_silence(
        silences_all=True, starts_at=at - 2 * MINUTE, ends_at=at - MINUTE
    )

    def ids(query):
        found = api.get(f"/api/v1/silences/?{query}").json()["results"]
        return [silence["id"] for silence in found]

    assert ids("monitor=shop") == [here.pk, over.pk]
    assert ids("monitor=bank") == [over.pk]
    assert ids("monitor=nobody") == []
    assert ids("lasting=true") == [here.pk]
    assert ids("lasting=false") == [over.pk]
