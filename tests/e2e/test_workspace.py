"""What an operator does with incidents, in a real browser."""

from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import Incident, UpdateTemplate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ADD = "/admin/incidents/incident/add/"
EXPIRED = "Your login has expired; your text is kept."
PUT_BACK = "What you typed is put back."


@pytest.fixture
def shop(transactional_db, make_monitor):
    return make_monitor("shop")


@pytest.fixture
def incident(shop):
    now = timezone.now()
    return Incident.open(
        title="Orders fail",
        summary="We look into it.",
        started_at=now - timedelta(hours=1),
        at=now,
        source="DASHBOARD",
        impacts={shop: "DOWN"},
    )


@pytest.fixture
def desk_of(visit, transactional_db, operator):
    """Log in, and open a page of the admin."""

    def open_page(page, **more):
        tab = visit(f"/admin/login/?next={page}", **more)
        log_in(tab)
        return tab

    return open_page


def log_in(tab):
    tab.get_by_label("Username").fill("ana")
    tab.get_by_label("Password").fill("pass")
    tab.get_by_role("button", name="Log in").click()
    tab.get_by_role("button", name="Log out").wait_for()
    tab.wait_for_load_state()


def expire(tab):
    tab.context.clear_cookies(name="sessionid")


def said(tab):
    return tab.get_by_label("What to say")


def kept(tab):
    """What the browser keeps of what was typed."""
    return tab.evaluate("Object.keys(localStorage).filter(k => k.startsWith('tocsin'))")


def test_update_is_posted_with_the_keyboard_alone(desk_of, incident):
    tab = desk_of(incident.admin_path)

    tab.keyboard.press("2")
    tab.keyboard.press("u")
    tab.keyboard.type("The pool is full.")
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Wrote an update.").wait_for()

    incident.refresh_from_db()
    assert incident.state == "IDENTIFIED"
    assert incident.updates.first().body == "The pool is full."
    assert said(tab).input_value() == ""
    tab.reload()
    assert said(tab).input_value() == ""
    assert kept(tab) == []


def test_draft_is_published_with_one_press(desk_of, triggered, make_rule, shop):
    alert = triggered(make_rule(shop), shop)
    draft = Incident.open_for(alert, at=timezone.now(), is_draft=True)
    tab = desk_of(draft.admin_path)

    tab.get_by_role("button", name="Publish", exact=True).click()
    tab.get_by_text("Published; people are being told.").wait_for()

    draft.refresh_from_db()
    assert draft.published_at is not None


def test_conflict_is_shown_and_nothing_is_lost(desk_of, incident):
    tab = desk_of(incident.admin_path)
    said(tab).fill("Mine.")
    incident.update(state="MONITORING", body="Theirs.", at=timezone.now())

    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Somebody else has changed this incident").wait_for()

    assert said(tab).input_value() == "Mine."
    assert tab.get_by_text("Theirs.").is_visible()
    assert incident.updates.count() == 2
    said(tab).focus()
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Wrote an update.").wait_for()
    assert incident.updates.count() == 3
    assert kept(tab) == []


@pytest.mark.parametrize("name", ["At", "Publish at"])
@pytest.mark.parametrize("has_script", [True, False])
def test_enter_in_a_moment_only_shows_a_preview(at_desk, incident, name, has_script):
    UpdateTemplate.objects.create(name="Known", state="IDENTIFIED", body="Known.")
    path = incident.admin_path.removeprefix("/admin/")
    tab = at_desk(path, java_script_enabled=has_script)
    said(tab).fill("Not done yet.")
    tab.get_by_label("Template").select_option("Known")

    tab.get_by_label(name, exact=True).press("Enter")
    tab.locator("#preview p", has_text="Not done yet.").wait_for()

    assert said(tab).input_value() == "Not done yet."
    assert tab.get_by_label("Template").input_value() != ""
    assert incident.updates.count() == 1


def test_tab_leads_from_the_words_to_the_button(desk_of, incident):
    UpdateTemplate.objects.create(name="Known", state="IDENTIFIED", body="Known.")
    tab = desk_of(incident.admin_path)
    said(tab).focus()
    names = []
    while "_publish" not in names and len(names) < 40:
        tab.keyboard.press("Tab")
        names.append(tab.evaluate("document.activeElement.name"))

    [impact] = incident.impacts.all()
    # A moment has a part for each number in it.
    assert list(dict.fromkeys(names)) == [
        *("template", "_fill", f"impact_{impact.monitor_id}", "next_update"),
        *("at", "publish_at", "is_quiet", "_publish"),
    ]


def test_update_is_taken_back_after_a_question(desk_of, incident):
    wrong = incident.update(state="RESOLVED", body="Wrong.", at=timezone.now())
    path = f"/admin/incidents/incident/{incident.pk}/updates/{wrong.pk}/"
    tab = desk_of(path)
    tab.get_by_role("button", name="Take back").click()
    tab.get_by_role("link", name="Keep it").click()
    assert incident.updates.count() == 2

    tab.goto(path)
    said(tab).fill("Else.")
    tab.get_by_role("button", name="Take back").click()
    tab.get_by_text("It cannot be brought back.").wait_for()
    tab.get_by_role("button", name="Take back").click()
    tab.get_by_text("Took the update back.").wait_for()

    incident.refresh_from_db()
    assert incident.is_open
    assert kept(tab) == []


# What was typed


def test_what_was_typed_outlives_the_login(desk_of, incident):
    tab = desk_of(incident.admin_path)
    tab.keyboard.press("3")
    said(tab).fill("It is mended.")
    expire(tab)

    tab.keyboard.press("Control+Enter")
    log_in(tab)

    assert tab.get_by_text(PUT_BACK).is_visible()
    assert said(tab).input_value() == "It is mended."
    assert tab.get_by_label("Monitoring").is_checked()
    assert incident.updates.count() == 1


def write_quietly(tab):
    """Write what is to be told to nobody, later, with a promise."""
    said(tab).fill("The other half follows.")
    tab.get_by_label("Page only, tell nobody").check()
    tab.get_by_label("Next update in").select_option("60")
    tab.get_by_label("Publish at").fill("2126-01-02T03:04:05")


def is_written_quietly(tab):
    assert said(tab).input_value() == "The other half follows."
    assert tab.get_by_label("Page only, tell nobody").is_checked()
    assert tab.get_by_label("Next update in").input_value() == "60"
    assert tab.get_by_label("Publish at").input_value() == "2126-01-02T03:04:05"


def test_quiet_update_stays_quiet_whatever_happens(desk_of, incident, make_monitor):
    search = make_monitor("search")
    tab = desk_of(incident.admin_path)
    write_quietly(tab)
    expire(tab)
    tab.keyboard.press("Control+Enter")
    log_in(tab)
    is_written_quietly(tab)

    tab.get_by_label("Monitor", exact=True).select_option(str(search.pk))
    tab.get_by_role("button", name="Add", exact=True).click()
    tab.get_by_text("Search is affected.").wait_for()

    is_written_quietly(tab)
    tab.get_by_role("button", name="Publish").click()
    tab.get_by_text("Scheduled an update.").wait_for()
    assert kept(tab) == []
    waits = incident.updates.model.every.waiting().get()
    assert (waits.body, waits.notifies) == ("The other half follows.", False)
    assert waits.promises_minutes == 60


def test_what_met_a_conflict_is_kept_while_other_things_are_done(
    desk_of, incident, make_monitor
):
    search = make_monitor("search")
    tab = desk_of(incident.admin_path)
    write_quietly(tab)
    incident.update(state="MONITORING", body="Theirs.", at=timezone.now())
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Somebody else has changed this incident").wait_for()

    tab.get_by_label("Monitor", exact=True).select_option(str(search.pk))
    tab.get_by_role("button", name="Add", exact=True).click()
    tab.get_by_text("Search is affected.").wait_for()

    is_written_quietly(tab)


def test_impact_that_nobody_chose_is_not_put_back(desk_of, incident, shop):
    tab = desk_of(incident.admin_path)
    said(tab).fill("Mine.")
    incident.update(state="MONITORING", body="Theirs.", at=timezone.now())
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Somebody else has changed this incident").wait_for()
    incident.revise(at=timezone.now(), impacts={shop: "PARTIAL"})

    tab.goto(incident.admin_path)
    tab.get_by_text(PUT_BACK).wait_for()

    assert said(tab).input_value() == "Mine."
    assert tab.locator(f"#id_impact_{shop.pk}").input_value() == "PARTIAL"


def test_what_was_typed_can_be_given_up(desk_of, incident):
    tab = desk_of(incident.admin_path)
    write_quietly(tab)
    tab.reload()
    is_written_quietly(tab)

    tab.get_by_role("button", name="Start over").click()
    tab.get_by_text(PUT_BACK).wait_for(state="hidden")

    assert said(tab).input_value() == ""
    assert not tab.get_by_label("Page only, tell nobody").is_checked()
    assert kept(tab) == []


def test_what_one_typed_is_not_put_back_for_another(
    desk_of, incident, django_user_model
):
    django_user_model.objects.create_superuser("ben", password="pass")
    tab = desk_of(incident.admin_path)
    write_quietly(tab)
    expire(tab)
    tab.reload()

    tab.get_by_label("Username").fill("ben")
    tab.get_by_label("Password").fill("pass")
    tab.get_by_role("button", name="Log in").click()
    tab.get_by_role("heading", name="Timeline").wait_for()

    assert said(tab).input_value() == ""


def test_neither_token_nor_version_is_kept(desk_of, incident):
    tab = desk_of(incident.admin_path)

    write_quietly(tab)

    [place] = kept(tab)
    values = tab.evaluate("place => JSON.parse(localStorage[place]).values", place)
    assert {*values} == {"body", "is_quiet", "next_update", "publish_at"}


def test_edit_of_an_update_outlives_the_login(desk_of, incident):
    first = incident.updates.get()
    path = f"/admin/incidents/incident/{incident.pk}/updates/{first.pk}/"
    tab = desk_of(path)
    said(tab).fill("We look into every order.")
    expire(tab)
    tab.get_by_role("button", name="Change", exact=True).click()
    log_in(tab)
    assert said(tab).input_value() == "We look into every order."

    tab.get_by_role("button", name="Change", exact=True).click()
    tab.get_by_text("Edited the update.").wait_for()

    first.refresh_from_db()
    assert first.body == "We look into every order."
    assert kept(tab) == []


def test_edit_that_was_left_is_forgotten(desk_of, incident):
    first = incident.updates.get()
    path = f"/admin/incidents/incident/{incident.pk}/updates/{first.pk}/"
    tab = desk_of(path)
    said(tab).fill("Or not.")

    tab.get_by_role("link", name="Leave it").click()
    tab.get_by_role("heading", name="Timeline").wait_for()

    assert kept(tab) == []
    tab.goto(path)
    assert said(tab).input_value() == "We look into it."


def test_new_incident_outlives_the_login(desk_of, shop, make_monitor):
    search = make_monitor("search")
    tab = desk_of(ADD)
    tab.get_by_label("Title").fill("Orders fail")
    tab.get_by_label("Summary").fill("We look into it.")
    tab.get_by_text("Who deals with it, and who hears of it").click()
    tab.get_by_label("Page only, tell nobody").check()
    tab.get_by_role("button", name="Add another affected monitor").click()
    tab.locator("#id_impacts-0-monitor").select_option(str(shop.pk))
    tab.locator("#id_impacts-0-level").select_option("DOWN")
    tab.locator("#id_impacts-1-monitor").select_option(str(search.pk))
    tab.locator("#id_impacts-1-level").select_option("PARTIAL")
    expire(tab)
    tab.get_by_role("button", name="Save", exact=True).click()
    log_in(tab)
    tab.locator("#id_impacts-1-level").wait_for()
    assert tab.get_by_label("Page only, tell nobody").is_visible()
    assert Incident.objects.count() == 0

    tab.get_by_role("button", name="Save", exact=True).click()
    tab.get_by_text("The incident is open; nobody gets a message.").wait_for()

    impacts = Incident.objects.get().impacts.values_list("monitor__tag", "level")
    assert {*impacts} == {("shop", "DOWN"), ("search", "PARTIAL")}
    assert kept(tab) == []


def test_refused_incident_is_kept_as_well(desk_of):
    tab = desk_of(ADD)
    tab.get_by_label("Summary").fill("We look into it.")
    tab.get_by_role("button", name="Save", exact=True).click()
    tab.get_by_text("This field is required.").wait_for()

    tab.goto(ADD)

    tab.get_by_text(PUT_BACK).wait_for()
    assert tab.get_by_label("Summary").input_value() == "We look into it."


# The preview


def test_preview_follows_the_typing(desk_of, incident):
    tab = desk_of(incident.admin_path)
    preview = tab.locator("#preview")
    assert preview.is_hidden()

    said(tab).press_sequentially("The pool is **full**.")
    preview.locator("strong", has_text="full").wait_for()
    assert preview.get_attribute("aria-live") == "off"

    tab.get_by_role("button", name="Preview").click()
    tab.locator("#preview[aria-live=polite]").wait_for()


def test_preview_takes_no_room_on_a_phone_unless_it_is_asked_for(desk_of, incident):
    tab = desk_of(incident.admin_path, width=390)
    preview = tab.locator("#preview")
    said(tab).fill("**One**")
    assert preview.is_hidden()

    tab.get_by_role("button", name="Preview").click()
    preview.locator("strong", has_text="One").wait_for()
    said(tab).fill("**Two**")

    preview.locator("strong", has_text="Two").wait_for()


def test_preview_says_that_the_login_has_expired(desk_of, incident):
    tab = desk_of(incident.admin_path)
    said(tab).fill("**One**")
    tab.locator("#preview strong").wait_for()
    expire(tab)

    tab.get_by_role("button", name="Preview").click()
    tab.locator("#preview", has_text=EXPIRED).wait_for()

    assert tab.locator("#preview").inner_text() == EXPIRED
    tab.reload()
    log_in(tab)
    assert said(tab).input_value() == "**One**"


# The list


@pytest.mark.parametrize("width", [1280, 1440, 1600])
def test_list_shows_every_column_beside_its_filters(
    desk_of, incident, make_monitor, django_user_model, width
):
    name = "maximilian-theodor.von-und-zu-hohenlohe@example.org"
    incident.revise(
        at=timezone.now(),
        title="Donaudampfschifffahrtsgesellschaft and its customers cannot order",
        owner=django_user_model.objects.create_user(name, is_staff=True),
        impacts={make_monitor("long", name="Checkout-and-payments-" * 4): "DOWN"},
    )
    tab = desk_of("/admin/incidents/incident/", width=width)

    results = tab.locator(".results")

    assert results.evaluate("it => it.scrollWidth - it.clientWidth") == 0
