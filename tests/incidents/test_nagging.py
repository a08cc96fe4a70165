from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from incidents import tasks
from incidents.models import Automation, Incident
from incidents.patience import Patience
from outbox import rendering
from outbox.models import Message
from outbox.rendering import Withdrawn

from .story import NOW, announce, minutes, recover

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIST = "/admin/incidents/incident/"


def after(number):
    return NOON + timedelta(minutes=number)


@pytest.fixture
def owner(db):
    return User.objects.create_user("olga", "olga@example.org", is_staff=True)


@pytest.fixture
def make_incident(make_monitor):
    def make(at=NOW, **more):
        facts = {"title": "Orders fail", "summary": "They fail.", "source": "API"}
        return Incident.open(**facts, started_at=at, at=at, **more)

    return make


@pytest.fixture
def incident(make_incident, owner):
    return make_incident(owner=owner)


def sweep(at):
    with time_machine.travel(at, tick=False):
        tasks.sweep.run()


def asked():
    """Who is asked, by each message in its order, with how often that was."""
    nags = Message.objects.filter(renderer="nag").order_by("pk")
    return [(m.destination or str(m.trigger), m.values["number"]) for m in nags]


def said(at, message=None):
    message = message or Message.objects.filter(renderer="nag").latest("pk")
    with time_machine.travel(at, tick=False):
        return rendering.render(message)


def why_not(at, message=None):
    with pytest.raises(Withdrawn) as raised:
        said(at, message)
    return str(raised.value)


# When


@pytest.mark.parametrize(
    ("after_minutes", "again", "promised", "expected"),
    [
        (30, 60, None, [30, 60]),
        (30, None, None, [30]),
        (None, 60, None, []),
        (None, 60, 20, []),
        (30, 30, None, [30]),
        (30, 60, 120, [120, 180]),
        (30, 60, 10, [10, 70]),
        (30, None, 10, [10]),
    ],
)
def test_moments_at_which_patience_ends(after_minutes, again, promised, expected):
    patience = Patience.of_minutes(after_minutes, again)
    promised_at = after(promised) if promised else None

    assert list(patience.ends(NOON, promised_at)) == [after(m) for m in expected]
    for nags in range(3):
        moment = after(expected[nags]) if nags < len(expected) else None
        assert patience.next_end(NOON, promised_at, nags) == moment


def test_owner_is_asked_once_and_once_again(incident):
    for minute in (29, 30, 31, 59, 60, 61, 600):
        sweep(minutes(minute))

    assert asked() == [("olga@example.org", 1), ("olga@example.org", 2)]
    entries = incident.timeline.filter(kind="NAGGED").order_by("happened_at")
    assert [entry.happened_at for entry in entries] == [minutes(30), minutes(60)]
    assert {entry.text for entry in entries} == {"Asked for news: olga"}


def test_incident_that_began_earlier_is_asked_about_from_its_opening(owner):
    Incident.open(
        title="Late",
        summary="x",
        source="API",
        started_at=minutes(-90),
        at=NOW,
        owner=owner,
    )

    sweep(minutes(29))
    assert asked() == []
    sweep(minutes(30))
    assert len(asked()) == 1


@pytest.mark.parametrize("notifies", [True, False])
def test_update_begins_the_waiting_anew(incident, notifies):
    sweep(minutes(30))
    incident.update(
        state="IDENTIFIED", body="Disks.", at=minutes(40), notifies=notifies
    )
    sweep(minutes(60))
    assert len(asked()) == 1

    sweep(minutes(70))
    sweep(minutes(100))
    assert [number for _, number in asked()] == [1, 1, 2]


def test_scheduled_update_begins_it_anew_once_it_is_told(incident):
    incident.schedule(state="IDENTIFIED", body="Disks.", publish_at=minutes(20))
    with time_machine.travel(minutes(20), tick=False):
        tasks.tell_updates.run()

    sweep(minutes(49))
    assert asked() == []
    sweep(minutes(50))
    assert len(asked()) == 1


def test_note_edit_and_what_is_back_dated_are_no_news(incident):
    incident.update(state="IDENTIFIED", body="Disks.", at=minutes(10))
    sweep(minutes(40))
    incident.note("We are on it.", at=minutes(45))
    incident.updates.first().edit(at=minutes(46), body="Discs.")
    incident.update(state="IDENTIFIED", body="Earlier.", at=minutes(5))

    sweep(minutes(69))
    assert len(asked()) == 1
    sweep(minutes(70))
    assert [number for _, number in asked()] == [1, 2]


def test_promise_is_waited_for_and_then_there_is_no_patience(incident):
    incident.update(
        state="IDENTIFIED", body="Disks.", at=minutes(1), next_update_at=minutes(121)
    )
    sweep(minutes(120))
    assert asked() == []

    sweep(minutes(121))
    sweep(minutes(180))
    assert len(asked()) == 1
    assert said(minutes(131)).subject == "Update overdue: Orders fail"
    assert "10 minutes ago" in said(minutes(131)).text
    sweep(minutes(181))
    assert [number for _, number in asked()] == [1, 2]


def test_new_promise_without_news_is_a_round_of_its_own(incident):
    incident.update(
        state="IDENTIFIED", body="Disks.", at=minutes(10), next_update_at=minutes(15)
    )
    sweep(minutes(15))
    incident.update(
        state="IDENTIFIED", body="Earlier.", at=minutes(5), next_update_at=minutes(40)
    )

    sweep(minutes(40))

    assert [number for _, number in asked()] == [1, 1]


def test_nobody_asks_about_what_is_over(incident):
    incident.update(state="RESOLVED", body="Done.", at=minutes(5))
    sweep(minutes(600))
    assert asked() == []

    incident.update(state="MONITORING", body="Again.", at=minutes(600))
    sweep(minutes(630))
    assert len(asked()) == 1


@pytest.mark.parametrize(
    "gone",
    [
        lambda incident: incident.delete_by_hand(at=minutes(1)),
        lambda incident: Incident.objects.update(merged_into=incident),
        lambda incident: Incident.objects.update(discarded_at=minutes(1)),
    ],
)
def test_nobody_asks_about_what_is_told_no_more(incident, gone):
    gone(incident)

    sweep(minutes(600))

    assert asked() == []
    assert Incident.objects.get().nag_at is None


def test_automatic_incident_needs_no_more_statements_for_it(
    set_up, make_alert, make_trigger
):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    set_up(nag_after=20, nag_again_after=None, gathers_storms=False, tell=[trigger])
    alert = make_alert()

    frozen = time_machine.travel(minutes(2), tick=False)
    with frozen, CaptureQueriesContext(connection) as made:
        announce(alert)
    statements = [query["sql"] for query in made.captured_queries]

    settings = [sql for sql in statements if 'FROM "incidents_automation"' in sql]
    changes = [sql for sql in statements if 'UPDATE "incidents_incident"' in sql]
    # The gates have loaded them, and so has who gathers mails.
    assert (len(settings), changes) == (2, [])
    sweep(minutes(21))
    assert asked() == []
    sweep(minutes(22))
    sweep(minutes(200))
    assert asked() == [("webhook", 1)]
    recover(alert, minutes(201))
    assert Incident.objects.get().nag_at is None


def test_draft_is_asked_about_once_it_is_public(set_up, make_alert, owner):
    set_up(draft_mode="ON")
    announce(make_alert())
    draft = Incident.objects.get()
    draft.revise(at=minutes(3), owner=owner)
    sweep(minutes(500))
    assert asked() == []

    draft.publish(at=minutes(500))
    sweep(minutes(529))
    assert asked() == []
    sweep(minutes(530))
    assert asked() == [("olga@example.org", 1)]


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"nag_after": 10}, 10),
        ({"nag_after": 45}, 45),
        ({"nag_after": None}, None),
    ],
)
def test_settings_count_for_what_is_open_already(
    changes, first, set_up, make_incident, owner
):
    open_ones = [make_incident(owner=owner) for _ in range(2)]
    over = make_incident(owner=owner)
    over.update(state="RESOLVED", body="Done.", at=minutes(1))

    set_up(**changes)

    for one in open_ones:
        one.refresh_from_db()
        assert one.nag_at == (first and minutes(first))
    over.refresh_from_db()
    assert over.nag_at is None


def test_settings_are_saved_in_as_many_statements_for_one_as_for_thirty(
    make_incident, set_up
):
    set_up()
    make_incident()
    with CaptureQueriesContext(connection) as one:
        Automation(nag_after=10).save()
    for _ in range(29):
        make_incident()

    with CaptureQueriesContext(connection) as thirty:
        Automation(nag_after=11).save()

    assert len(thirty) == len(one)
    assert set(Incident.objects.values_list("nag_at", flat=True)) == {minutes(11)}


# Whom


def test_owners_of_its_monitors_are_asked_where_it_has_none(
    make_incident, make_monitor, make_trigger, set_up, owner
):
    set_up(tell=[make_trigger(url="http://127.0.0.1:9/")])
    bo = User.objects.create_user("bo", "bo@example.org")
    idle = User.objects.create_user("idle", "idle@example.org", is_active=False)
    shop, bank = make_monitor("shop", owner=owner), make_monitor("bank", owner=bo)
    spared = make_monitor("mail", owner=idle)
    make_incident(impacts={shop: "DOWN", bank: "DOWN", spared: "DOWN"})

    sweep(minutes(30))

    assert asked() == [("olga@example.org", 1), ("bo@example.org", 1)]


def test_whoever_is_told_is_asked_where_nobody_owns_anything(
    make_incident, make_trigger, set_up
):
    set_up(tell=[make_trigger(url="http://127.0.0.1:9/")])
    incident = make_incident()

    sweep(minutes(30))

    assert asked() == [("webhook", 1)]
    assert incident.timeline.get(kind="NAGGED").text == "Asked for news: webhook"


def test_where_there_is_nobody_nothing_is_written_down(make_incident, admin):
    incident = make_incident()

    sweep(minutes(30))

    assert asked() == []
    assert not incident.timeline.filter(kind="NAGGED").exists()
    with time_machine.travel(minutes(45), tick=False):
        assert "no news for 45 min" in admin.get(LIST).content.decode()


def test_private_incident_is_named_to_nobody_outside(
    make_incident, make_monitor, make_trigger, set_up, owner
):
    set_up(tell=[make_trigger(url="http://127.0.0.1:9/")])
    inside = User.objects.create_user("ina", "ina@example.org")
    group = Group.objects.create(name="Security")
    inside.groups.add(group)
    incident = make_incident(impacts={make_monitor("shop", owner=owner): "DOWN"})
    Incident.objects.update(is_private=True, published_at=None)
    incident.groups.add(group)

    sweep(minutes(30))

    assert asked() == [("ina@example.org", 1)]
    assert (
        said(minutes(31)).subject == f"No news for 31 minutes: incident {incident.pk}"
    )


def test_what_became_private_is_not_told_to_those_outside(
    make_incident, make_trigger, set_up
):
    set_up(tell=[make_trigger(url="http://127.0.0.1:9/")])
    make_incident()
    sweep(minutes(30))

    Incident.objects.update(is_private=True, published_at=None)

    assert why_not(minutes(30)) == "The incident is private."


# What is said


def test_message_says_for_how_long_there_was_nothing(make_incident, owner):
    make_incident(owner=owner)
    Incident.objects.update(title="<b>Orders</b> fail")
    sweep(minutes(30))

    content = said(minutes(31))

    assert content.subject == "No news for 31 minutes: <b>Orders</b> fail"
    assert "nobody has told anything new for 31 minutes" in content.text
    assert "<b>Orders" not in content.html
    assert content.values["type"] == "incident.nag"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda i: i.update(state="IDENTIFIED", body="Disks.", at=minutes(31)),
            "There is news meanwhile.",
        ),
        (
            lambda i: i.update(state="RESOLVED", body="Done.", at=minutes(31)),
            "The incident is over, or told of elsewhere.",
        ),
        (
            lambda i: Incident.objects.update(merged_into=i),
            "The incident is over, or told of elsewhere.",
        ),
        (
            lambda i: Incident.objects.update(deleted_at=minutes(31)),
            "The incident was deleted.",
        ),
    ],
)
def test_message_is_not_sent_when_there_is_no_need_any_more(incident, change, why):
    sweep(minutes(30))

    change(incident)

    assert why_not(minutes(32)) == why


# Once


def test_restart_after_hours_asks_once(incident):
    sweep(minutes(6 * 60))
    sweep(minutes(6 * 60 + 1))

    assert asked() == [("olga@example.org", 2)]
    assert incident.timeline.filter(kind="NAGGED").count() == 1


def test_what_waited_while_nobody_delivered_is_said_once(incident):
    sweep(minutes(30))
    first = Message.objects.get(renderer="nag")
    again = "It is asked again at this moment."

    assert why_not(minutes(90), first) == again, "the next sweep asks"
    sweep(minutes(90))
    assert why_not(minutes(90), first) == again
    assert said(minutes(90)).subject.startswith("No news for 1 hour 30 minutes")


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_ask_once(incident, at_once):
    with time_machine.travel(minutes(30), tick=False):
        at_once(*[tasks.sweep.run] * 2)

    assert asked() == [("olga@example.org", 1)]
    assert incident.timeline.filter(kind="NAGGED").count() == 1


@pytest.mark.django_db(transaction=True)
def test_sweep_and_update_at_once_never_ask_about_what_was_said(incident, at_once):
    def update():
        current = Incident.objects.get()
        current.update(state="IDENTIFIED", body="Disks.", at=minutes(30))

    with time_machine.travel(minutes(30), tick=False):
        at_once(tasks.sweep.run, update)
        tasks.sweep.run()

    incident.refresh_from_db()
    assert incident.nag_at == minutes(60)
    assert incident.nags == 0
    assert len(asked()) <= 1
    for message in Message.objects.filter(renderer="nag"):
        assert why_not(minutes(30), message) == "There is news meanwhile."


def test_incident_that_cannot_be_asked_about_stops_no_other(
    incident, make_incident, owner, caplog
):
    make_incident(owner=owner)
    # No moment is half an hour later than this one.
    end_of_time = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    Incident.objects.filter(pk=incident.pk).update(published_at=end_of_time)

    sweep(minutes(30))

    assert len(asked()) == 1
    assert "Nobody could be asked about Orders fail" in caplog.text


# Where it is seen


def test_silence_is_seen_in_the_list_and_the_workspace(incident, admin):
    page = f"{LIST}{incident.pk}/change/"
    with time_machine.travel(minutes(29), tick=False):
        assert "no news for" not in admin.get(LIST).content.decode()
    sweep(minutes(30))

    with time_machine.travel(minutes(45), tick=False):
        assert "no news for 45 min" in admin.get(LIST).content.decode()
        shown = admin.get(page).content.decode()
        assert "no news for 45 min" in shown
        assert "Asked for news: olga" in shown
    incident.update(state="IDENTIFIED", body="Disks.", at=minutes(46))
    with time_machine.travel(minutes(47), tick=False):
        assert "no news for" not in admin.get(LIST).content.decode()


def test_second_time_has_to_be_later_than_the_first(admin):
    page = "/admin/incidents/automation/1/change/"
    shown = admin.post(page, {"nag_after": 60, "nag_again_after": 60})

    assert "later than the first time, 60 minutes" in shown.content.decode()
