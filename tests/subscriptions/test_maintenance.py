"""Who hears of a maintenance: one message a subscriber, date and kind of news."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from incidents import clock
from incidents.models import Maintenance, Occurrence
from outbox import rendering
from outbox.models import Message
from outbox.rendering import Withdrawn
from statuspages.models import ShownMonitor, StatusPage
from subscriptions.models import MaintenanceNews, Subscriber
from subscriptions.tasks import fan_out_due

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def minutes(number):
    return NOW + timedelta(minutes=number)


@pytest.fixture
def at():
    with time_machine.travel(NOW, tick=False) as travelled:
        yield lambda number: travelled.move_to(minutes(number))


@pytest.fixture
def reader(db, at):
    return Subscriber.add("reader@example.org", at=minutes(-60))


@pytest.fixture
def page(db):
    page = StatusPage.default()
    page.title, page.timezone = "Example status", "Asia/Tokyo"
    page.save()
    return page


@pytest.fixture
def tick(at):
    """Let the clock and the fan-out run, so many minutes after the beginning."""

    def tick(number):
        at(number)
        clock.run_due(minutes(number))
        fan_out_due.run()
        return kinds()

    return tick


def plan(impacts=None, **more):
    facts = {
        "title": "Database upgrade",
        "description": "Writes **pause**.",
        "starts_at": minutes(120),
        "ends_at": minutes(180),
        **more,
    }
    return Maintenance(**facts).schedule(at=NOW, impacts=impacts)


def kinds():
    news = {n.pk: n.kind for n in MaintenanceNews.objects.all()}
    found = Message.objects.filter(renderer="maintenance").order_by("pk")
    return [news[message.values["news"]] for message in found]


def newest():
    return rendering.render(Message.objects.filter(renderer="maintenance").latest("pk"))


def test_each_kind_once(reader, tick):
    plan()

    for number in (0, 1, 60, 61, 120, 121, 180, 181):
        told = tick(number)

    assert told == ["scheduled", "reminder", "started", "completed"]
    assert Message.objects.filter(recipient_key=reader.key).count() == 4


def test_only_who_has_confirmed_is_told(reader, tick):
    Subscriber.ask("asked@example.org", at=minutes(-5))
    Subscriber.add("gone@example.org", at=minutes(-5)).unsubscribe(at=minutes(-1))
    plan()

    tick(0)

    found = Message.objects.filter(renderer="maintenance")
    assert [message.destination for message in found] == ["reader@example.org"]


def test_worker_stopped_across_start_and_end_tells_of_the_end_alone(reader, tick):
    plan()
    tick(0)

    assert tick(6000) == ["scheduled", "completed"]


def daily(**more):
    """Every night at two, from tomorrow on."""
    usual = {"rrule": "FREQ=DAILY", "ends_at": None, "duration_minutes": 60}
    return plan(**{"starts_at": minutes(14 * 60), **usual, **more})


def test_week_without_workers_tells_of_what_was_announced_alone(reader, tick):
    """Of the seven dates that came and went people knew the first."""
    daily(reminders=[])
    tick(0)

    assert tick(60 * 24 * 7) == ["scheduled", "completed"]
    assert "Tuesday 3 March" in newest().text


def test_of_several_ends_that_come_late_the_last_is_told(reader, tick):
    planned = daily(reminders=[])
    tick(0)
    planned.occurrences.order_by("starts_at")[1].note("Mind this.", at=minutes(1))
    tick(2)

    assert tick(60 * 24 * 7) == ["scheduled", "changed", "completed"]
    assert "Wednesday 4 March" in newest().text


def test_end_of_what_nobody_heard_of_is_told_while_it_is_new(reader, tick):
    daily(reminders=[])
    tick(0)

    tick(60 * 24 * 3 + 60 * 3 + 30)

    ended = MaintenanceNews.objects.filter(kind="completed").latest("pk").occurrence
    assert ended.ended_at == minutes(60 * 24 * 2 + 15 * 60)
    at_once = tick(60 * 24 * 3 + 60 * 3 + 31)
    assert at_once == ["scheduled", "completed"]


def test_end_that_nobody_could_be_sent_before_is_withdrawn_once_it_is_old(reader, tick):
    """What told of the beginning never left the house."""
    plan()
    tick(0)
    tick(120)
    Message.objects.update(state=Message.State.CANCELLED)
    tick(185)
    end = Message.objects.filter(renderer="maintenance").latest("pk")
    rendering.render(end)

    tick(300)

    with pytest.raises(Withdrawn, match="moved on"):
        rendering.render(end)


def test_date_that_goes_by_an_edit_is_told_once_and_keeps_its_page(
    reader, tick, client
):
    planned = daily(rrule="FREQ=WEEKLY")
    tick(0)
    first = planned.occurrences.first()
    tick(60 * 13)
    before = Message.objects.filter(renderer="maintenance").count()

    planned.revise(at=minutes(60 * 13), exdates=["2026-03-03"])
    told = tick(60 * 13 + 1)

    assert told == ["scheduled", "reminder", "changed"]
    assert Message.objects.filter(renderer="maintenance").count() == before + 1
    assert "Called off: 2026-03-03 02:00 UTC." in newest().text
    assert "Tuesday 10 March" in newest().text
    assert "The dates have changed." in client.get(first.path).content.decode()


def test_ninety_dates_that_go_are_one_message(reader, tick):
    planned = daily()
    tick(0)
    Occurrence.objects.update(is_told=True)

    planned.revise(
        at=minutes(1),
        rrule="FREQ=WEEKLY;BYDAY=FR",
        starts_at=datetime(2026, 3, 6, 2, tzinfo=UTC),
        local_start="",
    )

    assert tick(2) == ["scheduled", "changed"]


def test_title_of_several_lines_forges_nothing_in_the_text(reader, tick):
    plan()
    Maintenance.objects.update(title="Upgrade\n\nUnsubscribe: http://evil.example/")
    tick(0)

    text = newest().text

    assert text.startswith("Maintenance planned: Upgrade Unsubscribe: http://evil")
    assert text.count("\nUnsubscribe:") == 1


def test_worker_stopped_from_before_the_reminder_until_after_the_start(reader, tick):
    plan()
    tick(0)

    assert tick(150) == ["scheduled", "started"]


def test_news_that_is_no_more_is_withdrawn_when_it_is_delivered(reader, tick):
    plan()
    tick(0)
    tick(60)
    reminder = Message.objects.filter(renderer="maintenance").latest("pk")

    tick(120)

    with pytest.raises(Withdrawn, match="moved on"):
        rendering.render(reminder)


def test_moved_extended_and_cancelled(reader, tick, at):
    plan()
    tick(0)
    occurrence = Occurrence.objects.get()
    occurrence.move(minutes(300), minutes(360), at=minutes(1))
    occurrence.extend(minutes(400), at=minutes(2))
    tick(3)
    occurrence.cancel(at=minutes(4), reason="The disks are late")
    told = tick(5)

    assert told == ["scheduled", "changed", "changed", "cancelled"]
    assert "The disks are late" in newest().text


def test_dates_of_a_rule_are_planned_in_one_mail(reader, tick):
    plan(
        rrule="FREQ=DAILY", ends_at=None, duration_minutes=60, time_zone="Europe/Berlin"
    )

    assert tick(0) == ["scheduled"]
    assert "Repeats: Every day at 15:00 Europe/Berlin, for 1 hour" in newest().text


def test_mail_tells_times_in_the_zone_of_the_page(reader, page, make_monitor, tick):
    shop = make_monitor("shop", name="Web Shop")
    named = make_monitor("bank", name="Bank")
    plan({shop: "DEGRADED", named: "NONE"})
    tick(0)

    content = newest()

    assert (
        content.subject == "Maintenance planned: Database upgrade, 2 March, 23:00 JST"
    )
    assert "From: Monday 2 March 2026, 23:00 JST" in content.text
    assert "To:   Tuesday 3 March 2026, 00:00 JST (1 h)" in content.text
    assert "- Web Shop: degraded\n- Bank\n" in content.text
    assert "Writes pause." in content.text
    assert "<strong>pause</strong>" in content.html
    assert reader.unsubscribe_url in content.text
    assert content.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert Occurrence.objects.get().url in content.text


@pytest.mark.parametrize("number", [0, 60, 120, 180])
def test_every_kind_can_be_made(reader, page, tick, number):
    plan()
    tick(number)

    content = newest()

    assert "Database upgrade" in content.subject
    assert "{{" not in content.html


def test_words_of_strangers_stay_words(reader, page, tick):
    plan(title="<script>alert(1)</script>\r\nBcc: x@example.org")
    tick(0)

    content = newest()

    assert "<script>" not in content.html
    assert "\n" not in content.subject


def test_what_the_page_does_not_show_is_not_told(reader, page, make_monitor, tick):
    shop, secret = make_monitor("shop"), make_monitor("secret")
    ShownMonitor.objects.create(page=page, monitor=shop)
    page.shows_all = False
    page.save()

    plan({secret: "DOWN"})
    assert tick(0) == []
    plan({shop: "DOWN", secret: "DOWN"})
    assert tick(0) == ["scheduled"]

    assert "secret" not in newest().text.lower()


def test_two_fan_outs_at_once_make_one_message_each(transactional_db, at_once):
    now = datetime.now(UTC)
    for n in range(20):
        Subscriber.add(f"r{n}@example.org", at=now - timedelta(minutes=1))
    Maintenance(
        title="Upgrade",
        starts_at=now + timedelta(hours=2),
        ends_at=now + timedelta(hours=3),
    ).schedule(at=now)

    at_once(*[fan_out_due.run] * 3)

    assert Message.objects.filter(renderer="maintenance").count() == 20
