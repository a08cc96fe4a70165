from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import Maintenance, Occurrence
from statuspages.models import ShownMonitor, Snapshot


@pytest.fixture
def plan(page):
    def plan(impacts=None, hours=2, **more):
        now = timezone.now()
        facts = {
            "title": "Database upgrade",
            "description": "Writes *pause*.",
            "starts_at": now + timedelta(hours=hours),
            "ends_at": now + timedelta(hours=hours + 1),
            **more,
        }
        maintenance = Maintenance(**facts).schedule(at=now, impacts=impacts)
        return maintenance.occurrences.first()

    return plan


def test_upcoming_is_shown_for_a_week(show, plan):
    plan(title="Soon")
    plan(title="Far", hours=24 * 8)

    body = show()

    assert "Soon" in body
    assert "Starts in 1 h 59 min" in body
    assert "Far" not in body


def test_in_progress_is_the_state_of_its_monitors(show, plan, make_monitor, stand):
    shop = make_monitor("shop", name="Web Shop")
    stand(shop, "up")
    occurrence = plan({shop: "MAINTENANCE"})
    assert "Web Shop is up" in show()

    occurrence.start(at=timezone.now() - timedelta(seconds=5))

    body = show()
    assert "Web Shop is under maintenance" in body
    assert "In progress" in body


def test_of_a_rule_the_next_date_is_shown(show, plan):
    plan(rrule="FREQ=DAILY", ends_at=None, duration_minutes=30)

    assert show().count("Database upgrade</a>") == 1


def test_over_is_shown_no_more(show, plan):
    plan().cancel(at=timezone.now())

    assert "Database upgrade" not in show()


def test_what_happens_marks_pages(plan, show):
    occurrence = plan()
    for turn in (
        lambda: occurrence.start(at=timezone.now()),
        lambda: occurrence.verify(at=timezone.now()),
        lambda: occurrence.complete(at=timezone.now()),
    ):
        show()
        assert Snapshot.objects.get().dirty_at is None
        turn()
        assert Snapshot.objects.get().dirty_at is not None


def test_page_of_a_date(client, page, plan, make_monitor):
    page.timezone = "Asia/Tokyo"
    page.save()
    shop, bank = make_monitor("shop", name="Web Shop"), make_monitor("bank")
    occurrence = plan({shop: "PARTIAL", bank: "NONE"})
    occurrence.start(at=timezone.now(), body="We *begin*.")

    response = client.get(occurrence.path)

    body = response.content.decode()
    assert response.status_code == 200
    assert "Web Shop" in body
    assert "Partial outage" in body
    assert "<em>begin</em>" in body
    assert "JST" in body


def test_page_of_a_cancelled_date_says_why(client, plan):
    occurrence = plan()
    occurrence.cancel(at=timezone.now(), reason="The disks are late")

    body = client.get(occurrence.path).content.decode()
    assert body.count("The disks are late") == 1
    assert "0 s" not in body
    assert occurrence.finishes_at == occurrence.ends_at


def test_page_of_a_date_that_is_over_stays_as_it_was(client, plan, make_monitor):
    shop, bank = make_monitor("shop", name="Web Shop"), make_monitor("bank")
    occurrence = plan({shop: "DOWN"})
    now = timezone.now()
    occurrence.start(at=now)
    occurrence.complete(at=now)

    occurrence.maintenance.revise(
        at=now, title="Another", description="Else.", impacts={bank: "DEGRADED"}
    )

    body = client.get(occurrence.path).content.decode()
    assert "Database upgrade" in body
    assert "Web Shop" in body
    assert "<em>pause</em>" in body
    assert not any(word in body for word in ("Another", "Bank", "Else"))


def test_date_that_is_over_stays_on_the_page_it_was_on(
    client, page, plan, make_monitor
):
    shop, secret = make_monitor("shop"), make_monitor("secret")
    ShownMonitor.objects.create(page=page, monitor=shop)
    page.shows_all = False
    page.save()
    now = timezone.now()
    shown, hidden = plan({shop: "DOWN"}), plan({secret: "DOWN"})
    for occurrence in (shown, hidden):
        occurrence.start(at=now)
        occurrence.complete(at=now)

    shown.maintenance.revise(at=now, impacts={secret: "DOWN"})
    hidden.maintenance.revise(at=now, impacts={shop: "DOWN"})

    assert client.get(shown.path).status_code == 200
    assert client.get(hidden.path).status_code == 404


def test_zone_that_is_gone_leaves_pages_standing(client, page, show, plan):
    occurrence = plan(rrule="FREQ=DAILY", ends_at=None, duration_minutes=30)
    Maintenance.objects.update(time_zone="Atlantis/Gadeirus")
    page.timezone = "Atlantis/Mneseus"
    page.save()

    assert client.get(occurrence.path).status_code == 200
    assert "Database upgrade" in show()


def test_page_is_silent_about_what_it_does_not_show(
    client, page, show, plan, make_monitor
):
    shop, secret = make_monitor("shop"), make_monitor("secret", name="Hidden")
    ShownMonitor.objects.create(page=page, monitor=shop)
    page.shows_all = False
    page.save()
    hidden = plan({secret: "DOWN"}, title="Hidden work")
    both = plan({secret: "DOWN", shop: "DOWN"})

    assert client.get(hidden.path).status_code == 404
    assert "Hidden" not in client.get(both.path).content.decode()
    assert "Hidden" not in show()
    assert Occurrence.objects.count() == 2
