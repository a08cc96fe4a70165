"""How operators go through a maintenance, in a real browser."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import Maintenance, Occurrence

pytestmark = pytest.mark.browser

OCCURRENCE = "incidents/occurrence/{}/change/"
BOTH = pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])


def plan(**facts):
    now = timezone.now().replace(microsecond=0)
    usual = {
        "title": "Database upgrade",
        "description": "Writes pause.",
        "starts_at": now + timedelta(hours=2),
    }
    if "rrule" not in facts:
        usual["ends_at"] = now + timedelta(hours=3)
    return Maintenance(**{**usual, **facts}).schedule(at=now)


@pytest.fixture
def occurrence(clockwork):
    return plan().occurrences.get()


@BOTH
def test_story_is_told_step_by_step(script, occurrence, at_desk):
    tab = at_desk(OCCURRENCE.format(occurrence.pk), java_script_enabled=script)
    words = tab.get_by_label("What to say")
    story = tab.get_by_role("region", name="Story")
    assert "Nothing has been told of it yet." in story.inner_text()

    words.fill("The disks are **late**.")
    tab.get_by_role("button", name="Write an update").click()
    story.locator("strong", has_text="late").wait_for()

    words.fill("We begin *early*.")
    tab.get_by_role("button", name="Start now").click()
    story.locator("em", has_text="early").wait_for()
    tab.get_by_role("button", name="Verify", exact=True).click()
    story.get_by_text("We are verifying").wait_for()

    words.fill("It takes longer.")
    tab.get_by_role("button", name="Extend…").click()
    tab.get_by_role("heading", name="Extend one occurrence?").wait_for()
    later = occurrence.ends_at + timedelta(hours=1)
    tab.get_by_label("Until").fill(f"{later:%Y-%m-%dT%H:%M:%S}")
    assert tab.get_by_label("What to say").input_value() == "It takes longer."
    tab.get_by_role("button", name="Extend").click()
    story.get_by_text("It takes longer.").wait_for()

    tab.get_by_role("button", name="Complete").click()
    story.get_by_text("The maintenance is completed.").wait_for()
    heads = story.get_by_role("heading", level=3).all_inner_texts()
    assert [head.split("\n")[0] for head in heads] == [
        *("Completed", "In progress", "Verifying", "In progress", "Scheduled"),
    ]
    assert all("ana" in head for head in heads)
    assert tab.get_by_role("button", name="Complete").count() == 0


@BOTH
@pytest.mark.parametrize(
    "rrule", ["FREQ=MONTHLY;BYDAY=5MO", "FREQ=MONTHLY;BYDAY=-2FR", "FREQ=WEEKLY"]
)
def test_another_title_leaves_the_dates_alone(script, rrule, clockwork, at_desk):
    now = timezone.now().replace(microsecond=0)
    days = (now + timedelta(days=n) for n in range(1, 200))
    fits = {
        "FREQ=MONTHLY;BYDAY=5MO": lambda d: d.weekday() == 0 and d.day > 28,
        "FREQ=MONTHLY;BYDAY=-2FR": lambda d: (
            d.weekday() == 4
            and (d + timedelta(days=7)).month == d.month
            and (d + timedelta(days=14)).month != d.month
        ),
        "FREQ=WEEKLY": lambda d: True,
    }
    start = next(day for day in days if fits[rrule](day))
    planned = plan(rrule=rrule, starts_at=start, duration_minutes=60)
    before = [*planned.occurrences.values_list("pk", "starts_at", "ends_at")]
    tab = at_desk(
        f"incidents/maintenance/{planned.pk}/change/", java_script_enabled=script
    )

    assert tab.get_by_label("By a rule").is_checked()
    assert tab.get_by_label("Rule", exact=True).input_value() == rrule
    tab.get_by_label("Title").fill("Longer")
    tab.get_by_role("button", name="Save", exact=True).click()

    tab.get_by_text("was changed successfully").wait_for()
    planned.refresh_from_db()
    assert (planned.title, planned.rrule) == ("Longer", rrule)
    assert [*planned.occurrences.values_list("pk", "starts_at", "ends_at")] == before


def test_warnings_are_seen_before_it_is_saved(clockwork, at_desk):
    tab = at_desk("incidents/maintenance/add/")
    start = timezone.now() + timedelta(days=1)

    tab.get_by_label("Title").fill("Backup")
    tab.get_by_label("Description").fill("Nothing pauses.")
    tab.get_by_label("Starts").fill(f"{start:%Y-%m-%dT%H:%M:%S}")
    tab.get_by_label("Every day").check()
    tab.get_by_label("Lasts", exact=True).fill("4320")
    tab.get_by_role("button", name="Show dates").click()

    warning = tab.get_by_text("The window is longer than its period")
    warning.wait_for()
    assert warning.is_visible()
    assert tab.get_by_role("heading", name="The next dates").is_visible()
    assert not Maintenance.objects.exists()


@BOTH
def test_extending_several_says_which_refuses(script, clockwork, at_desk):
    now = timezone.now().replace(microsecond=0)
    early = plan(title="Early", ends_at=now + timedelta(hours=3)).occurrences.get()
    late = plan(title="Late", ends_at=now + timedelta(hours=5)).occurrences.get()
    tab = at_desk("incidents/occurrence/", java_script_enabled=script)

    for row in tab.locator(".action-select").all():
        row.check()
    tab.locator("select[name=action]").select_option("extend")
    tab.locator("button[name=index]").click()
    tab.get_by_label("Until").fill(f"{now + timedelta(hours=4):%Y-%m-%dT%H:%M:%S}")
    tab.get_by_role("button", name="Extend").click()

    tab.get_by_text(f"{late}: Give a later end").wait_for()
    assert Occurrence.objects.get(pk=early.pk).ends_at == early.ends_at
    assert not early.updates.exists()


@pytest.mark.looks
@pytest.mark.parametrize("scheme", ["light", "dark"])
@BOTH
def test_no_page_scrolls_sideways_on_a_phone(scheme, script, occurrence, at_desk):
    occurrence.note("`" + "unbroken" * 40 + "`", at=timezone.now())
    look = {"color_scheme": scheme, "java_script_enabled": script}
    pages = [
        OCCURRENCE.format(occurrence.pk),
        f"incidents/maintenance/{occurrence.maintenance_id}/change/",
        *("incidents/maintenance/add/", "subscriptions/subscriber/"),
    ]
    tab = at_desk(pages[0], width=320, **look)

    for page in pages:
        tab.goto(f"/admin/{page}")
        widest = tab.evaluate("document.documentElement.scrollWidth")
        assert (page, widest) == (page, 320)


def test_switch_of_reminders_is_found_beside_the_subscribers(clockwork, at_desk):
    tab = at_desk("subscriptions/subscriber/")

    tab.get_by_role("link", name="Send Maintenance Reminders: on").click()

    assert re.search(r"/maintenancesettings/\d+/change/", tab.url)
    assert tab.get_by_label("Send Maintenance Reminders").is_checked()
