import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert
from alerting.rules import Change, Result
from incidents.models import Incident
from monitors.models import Label, Overlay
from tests.e2e.test_browser import CHROMIUM, chromium, visit  # noqa: F401

ADD = "/admin/incidents/incident/add/"


def rows(*impacts):
    """The inline form's rows of affected monitors."""
    given = {"impacts-TOTAL_FORMS": len(impacts), "impacts-INITIAL_FORMS": 0}
    for n, (monitor, level) in enumerate(impacts):
        given |= {f"impacts-{n}-monitor": monitor.pk, f"impacts-{n}-level": level}
    return given


def opening(*impacts, **more):
    return {
        "title": "Orders fail",
        "summary": "We **look** into it.",
        "started_at": "2026-01-02T03:04:05",
        "severity": 2,
        **rows(*impacts),
        **more,
    }


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.fixture
def incident(make_monitor):
    now = timezone.now()
    return Incident.open(
        title="Orders fail",
        summary="We look into it.",
        started_at=now - timedelta(hours=1),
        at=now,
        source="DASHBOARD",
        impacts={make_monitor("shop"): "DOWN"},
    )


@pytest.fixture
def page(incident):
    return f"/admin/incidents/incident/{incident.pk}/change/"


def update(incident, **more):
    incident.refresh_from_db()
    return {
        "state": "IDENTIFIED",
        "body": "The pool is **full**.",
        "at": "",
        "version": incident.version,
        "_publish": "",
        **more,
    }


def test_opening_makes_the_summary_the_first_update(admin, operator, make_monitor):
    shop, search = make_monitor("shop"), make_monitor("search")

    response = admin.post(ADD, opening((shop, "DOWN"), (search, "DEGRADED")))

    incident = Incident.objects.get()
    first = incident.updates.get()
    assert response.headers["Location"].endswith(f"/{incident.pk}/change/")
    assert (incident.title, incident.severity) == ("Orders fail", 2)
    assert (incident.source, incident.state) == ("DASHBOARD", "INVESTIGATING")
    assert f"{incident.started_at:%Y-%m-%d %H:%M:%S}" == "2026-01-02 03:04:05"
    assert (first.body, first.author) == ("We **look** into it.", operator)
    assert first.at == incident.started_at
    assert set(incident.impacts.values_list("monitor__tag", "level")) == {
        ("shop", "DOWN"),
        ("search", "DEGRADED"),
    }


@pytest.mark.parametrize("missing", ["title", "summary", "started_at"])
def test_title_summary_and_start_are_required(admin, missing):
    page = admin.post(ADD, opening(**{missing: ""}))

    assert "This field is required." in text(page)
    assert not Incident.objects.exists()


def test_an_incident_cannot_begin_in_the_future(admin):
    page = admin.post(ADD, opening(started_at="2126-01-01T00:00:00"))

    assert "This moment is still to come; times are UTC." in text(page)


def test_the_start_is_proposed_as_now(admin):
    page = admin.get(ADD).content.decode()

    assert f'value="{timezone.now():%Y-%m-%dT%H:%M}' in page


def test_an_update_is_published_with_its_author(admin, operator, incident, page):
    admin.post(page, update(incident))

    incident.refresh_from_db()
    newest = incident.updates.first()
    assert incident.state == "IDENTIFIED"
    assert (newest.body, newest.author) == ("The pool is **full**.", operator)
    assert "<strong>full</strong>" in newest.html
    assert timezone.now() - newest.at < timedelta(seconds=20)


def test_an_update_may_be_backdated(admin, incident, page):
    at = incident.started_at + timedelta(minutes=5)

    admin.post(page, update(incident, at=f"{at:%Y-%m-%dT%H:%M:%S}"))

    assert incident.updates.first().at == at.replace(microsecond=0)


def test_resolving_ends_the_incident_and_its_impact(admin, incident, page):
    admin.post(page, update(incident, state="RESOLVED"))

    incident.refresh_from_db()
    assert incident.ended_at is not None
    assert not incident.impacts.filter(ended_at=None).exists()


def test_an_empty_update_is_refused_and_nothing_is_lost(admin, incident, page):
    shown = admin.post(page, update(incident, body=" ", state="MONITORING"))

    assert "This field is required." in text(shown)
    assert re.search(r'value="MONITORING"\s+checked', shown.content.decode()), (
        "the chosen state is kept"
    )
    assert incident.updates.count() == 1


def test_who_is_too_late_keeps_the_text_and_reads_what_is_new(admin, incident, page):
    late = update(incident)
    incident.update(state="MONITORING", body="It is mended.", at=timezone.now())

    shown = admin.post(page, late)
    html = shown.content.decode()
    again = admin.post(page, late | {"version": incident.version})

    assert "Somebody else has changed this incident" in text(shown)
    assert "The pool is **full**." in html
    assert "It is mended." in html
    assert f'name="version" value="{incident.version}"' in html
    assert again.status_code == 302
    assert incident.updates.count() == 3


def test_the_facts_change_unless_somebody_was_faster(admin, incident, page):
    earlier = incident.started_at - timedelta(hours=1)
    given = {
        "severity": 3,
        "started_at": earlier.strftime("%Y-%m-%dT%H:%M:%S"),
        "version": incident.version,
        "_revise": "",
    }

    admin.post(page, given | {"title": "Checkout fails"})
    incident.refresh_from_db()
    late = admin.post(page, given | {"title": "Mine"})

    assert (incident.title, incident.severity) == ("Checkout fails", 3)
    assert incident.started_at == earlier.replace(microsecond=0)
    assert incident.impacts.get().started_at == incident.started_at
    assert "Somebody else has changed this incident" in text(late)
    assert Incident.objects.get().title == "Checkout fails"


def test_monitors_are_added_and_spared(admin, incident, page, make_monitor):
    search = make_monitor("search")
    given = {"monitor": search.pk, "level": "DEGRADED", "_affect": ""}

    admin.post(page, given | {"version": incident.version})
    added = set(incident.impacts.filter(ended_at=None).values_list("monitor__tag"))
    admin.post(page, {"_spare": search.pk})

    assert added == {("shop",), ("search",)}
    assert incident.impacts.filter(ended_at=None).get().monitor.tag == "shop"
    assert Overlay.objects.filter(ended_at=None).get().monitor.tag == "shop"


@pytest.mark.parametrize("way", ["script", "button"])
def test_a_preview_is_as_safe_as_the_page(admin, incident, page, way):
    body = "**Bold** <script>alert(1)</script> <img src=x onerror=alert(1)>"

    if way == "script":
        path = "/admin/incidents/incident/preview/"
        html = admin.post(path, {"body": body}).content.decode()
    else:
        given = update(incident, body=body)
        del given["_publish"]
        html = admin.post(page, given | {"_preview": ""}).content.decode()
        html = html.split('id="preview"')[1].split("</div>")[0]

    assert "<strong>Bold</strong>" in html
    assert "<script" not in html
    assert "<img" not in html
    assert incident.updates.count() == 1


def test_a_preview_is_not_for_strangers(client, db):
    path = "/admin/incidents/incident/preview/"

    assert client.post(path, {"body": "x"}).status_code == 302


def test_the_workspace_tells_the_story(admin, make_monitor, make_rule):
    shop, now = make_monitor("shop"), timezone.now()
    failed = Result(id=1, at=now, status="down", error="It answered 500")
    rule = make_rule(shop)
    alert = Alert.trigger(rule, shop, Change("TRIGGERED", failed, now, "3"))
    alert.transitions.get().announce(at=now)
    incident = Incident.objects.get()

    shown = text(admin.get(f"/admin/incidents/incident/{incident.pk}/change/"))

    assert "Alert triggered: Shop STATUS: DOWN" in shown
    assert "Shop: down" in shown
    assert "It answered 500" in shown
    assert "Source Alert" in shown


@pytest.mark.parametrize("way", ["page", "list"])
def test_deleting_takes_it_back_by_hand(admin, incident, page, way):
    if way == "page":
        path = page.replace("change", "delete")
        asked = text(admin.get(path))
        admin.post(path, {"post": "yes"})
    else:
        given = {
            "_selected_action": incident.pk,
            "action": "delete_selected",
            "index": 0,
        }
        asked = text(admin.post("/admin/incidents/incident/", given))
        admin.post("/admin/incidents/incident/", given | {"post": "yes"})

    assert "To end an incident, resolve it instead." in asked
    incident.refresh_from_db()
    assert incident.deleted_at is not None
    assert not Overlay.objects.exists()
    assert "This incident was deleted" in text(admin.get(page))
    assert admin.post(page, update(incident)).status_code == 403


def test_the_list_hides_what_was_deleted(admin, incident):
    incident.delete_by_hand(at=timezone.now())

    hidden = text(admin.get("/admin/incidents/incident/"))
    asked = text(admin.get("/admin/incidents/incident/?deleted=yes"))

    assert "Orders fail" not in hidden
    assert "Orders fail" in asked


def test_the_list_is_searched_by_what_was_said(admin, incident):
    assert "Orders fail" in text(admin.get("/admin/incidents/incident/?q=look+into"))
    assert "Orders fail" not in text(admin.get("/admin/incidents/incident/?q=pizza"))


@pytest.mark.parametrize(("which", "found"), [("yes", True), ("no", False)])
def test_the_list_is_filtered_by_open(admin, incident, which, found):
    shown = text(admin.get(f"/admin/incidents/incident/?open={which}"))

    assert ("Orders fail" in shown) is found


def test_an_incident_that_is_not_there_leads_back(admin):
    for number in ("77", "seven"):
        response = admin.get(f"/admin/incidents/incident/{number}/change/")
        assert response.status_code == 302


def test_the_workspace_needs_as_many_queries_for_few_as_for_many(
    admin, incident, page, make_monitor
):
    with CaptureQueriesContext(connection) as few:
        admin.get(page)

    impacts = {make_monitor(f"m{n}"): "DOWN" for n in range(20)}
    incident.revise(at=timezone.now(), impacts=impacts)
    for _ in range(20):
        incident.update(state="MONITORING", body="Still.", at=timezone.now())

    with CaptureQueriesContext(connection) as many:
        admin.get(page)
    assert len(many) == len(few) <= 27


def test_update_changes_what_monitors_suffer(admin, incident, page):
    [impact] = incident.impacts.all()
    name = f"impact_{impact.monitor_id}"

    admin.post(page, update(incident, **{name: "DEGRADED"}))
    worse = incident.impacts.get(ended_at=None).level
    admin.post(page, update(incident, **{name: "UP"}))

    assert worse == "DEGRADED"
    assert not incident.impacts.filter(ended_at=None).exists()
    assert incident.state != "RESOLVED"


def test_owner_and_labels_are_facts(admin, operator, incident, page):
    label = Label.objects.create(name="payments")
    incident.refresh_from_db()
    began = f"{incident.started_at:%Y-%m-%dT%H:%M:%S}"
    given = {"title": "x", "severity": 1, "started_at": began, "_revise": ""}
    given |= {"owner": operator.pk, "labels": [label.pk], "version": incident.version}

    admin.post(page, given)

    incident.refresh_from_db()
    assert (incident.owner, list(incident.labels.all())) == (operator, [label])
    listed = f"/admin/incidents/incident/?labels__id__exact={label.pk}"
    assert "ana" in text(admin.get(listed))


def test_the_list_needs_as_many_queries_for_one_as_for_thirty(
    admin, operator, incident, make_monitor
):
    def asked(path):
        with CaptureQueriesContext(connection) as asked:
            assert admin.get(f"/admin/incidents/{path}").status_code == 200
        return len(asked)

    filters = ["", "?q=fail", "?open=yes", f"?owner__id__exact={operator.pk}"]
    queries = [f"incident/{filter}" for filter in filters]
    # What every page of the admin asks, with a list of nothing in it.
    frame = asked("updatetemplate/") - 2
    Incident.objects.update(owner=operator)
    few = [asked(query) for query in queries]
    now = timezone.now()
    for n in range(30):
        Incident.open(
            title=f"Orders fail {n}",
            summary="They fail, and fail.",
            started_at=now,
            at=now,
            source="API",
            owner=operator,
            impacts={make_monitor(f"m{n}"): "DOWN"},
        )

    assert [asked(query) for query in queries] == few
    assert max(few) - frame <= 6


# In a real browser

in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.django_db(transaction=True),
]


def browser_test(test):
    for mark in in_browser:
        test = mark(test)
    return test


@pytest.fixture
def desk_of(visit, transactional_db, operator):  # noqa: F811
    """Log in, and open the page of an incident."""

    def open_page(page):
        tab = visit(f"/admin/login/?next={page}")
        log_in(tab)
        return tab

    return open_page


def log_in(tab):
    tab.get_by_label("Username").fill("ana")
    tab.get_by_label("Password").fill("pass")
    tab.get_by_role("button", name="Log in").click()
    tab.get_by_role("heading", name="Timeline").wait_for()


@browser_test
def test_update_is_posted_with_the_keyboard_alone(desk_of, incident, page):
    tab = desk_of(page)

    tab.keyboard.press("2")
    tab.keyboard.press("u")
    tab.keyboard.type("The pool is full.")
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Wrote an update.").wait_for()

    incident.refresh_from_db()
    assert incident.state == "IDENTIFIED"
    assert incident.updates.first().body == "The pool is full."
    assert tab.get_by_label("What to say").input_value() == ""
    tab.reload()
    assert tab.get_by_label("What to say").input_value() == ""


@browser_test
def test_draft_is_published_with_one_press(desk_of, make_alert):
    draft = Incident.open_for(make_alert(), at=timezone.now(), is_draft=True)
    tab = desk_of(f"/admin/incidents/incident/{draft.pk}/change/")

    tab.get_by_role("button", name="Publish", exact=True).click()
    tab.get_by_text("Published; people are being told.").wait_for()

    draft.refresh_from_db()
    assert draft.published_at is not None


@browser_test
def test_conflict_is_shown_and_nothing_is_lost(desk_of, incident, page):
    tab = desk_of(page)
    tab.get_by_label("What to say").fill("Mine.")
    incident.update(state="MONITORING", body="Theirs.", at=timezone.now())

    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Somebody else has changed this incident").wait_for()

    assert tab.get_by_label("What to say").input_value() == "Mine."
    assert tab.get_by_text("Theirs.").is_visible()
    assert incident.updates.count() == 2
    tab.get_by_label("What to say").focus()
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Wrote an update.").wait_for()
    assert incident.updates.count() == 3


@browser_test
def test_what_was_typed_outlives_the_login(desk_of, incident, page):
    tab = desk_of(page)
    tab.keyboard.press("3")
    tab.get_by_label("What to say").fill("It is mended.")
    tab.context.clear_cookies(name="sessionid")

    tab.keyboard.press("Control+Enter")
    tab.get_by_label("Username").wait_for()
    log_in(tab)

    assert tab.get_by_label("What to say").input_value() == "It is mended."
    assert tab.get_by_label("Monitoring").is_checked()
    assert incident.updates.count() == 1
