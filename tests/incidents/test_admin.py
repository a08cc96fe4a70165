import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert
from alerting.rules import Change, Result
from incidents import merging
from incidents.models import Incident, IncidentUpdate, UpdateTemplate
from monitors.models import Label, Overlay
from subscriptions.models import Subscriber

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


def test_what_ends_an_incident_affects_nothing_more(admin, incident, page):
    [impact] = incident.impacts.all()
    ending = update(incident, state="RESOLVED")
    name = f"impact_{impact.monitor_id}"

    refused = admin.post(page, {**ending, name: "DEGRADED"})
    accepted = admin.post(page, {**ending, name: "UP"})

    assert "nothing is affected any more" in refused.content.decode()
    assert accepted.status_code == 302
    incident.refresh_from_db()
    assert incident.ended_at == incident.impacts.get().ended_at is not None


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


# What was shown and comes back as it was


def shown_at(client, path, name):
    """What a page has in a field for a moment."""
    [field] = re.findall(
        rf'<input[^>]*name="{name}"[^>]*>', client.get(path).content.decode()
    )
    return re.search(r'value="([^"]*)"', field)[1]


@pytest.fixture
def over(make_monitor):
    """An incident that was over within the second in which it began."""
    began = timezone.now().replace(microsecond=200_000) - timedelta(minutes=5)
    over = Incident.open(
        title="Orders fail",
        summary="We look into it.",
        started_at=began,
        at=began,
        source="API",
        impacts={make_monitor("shop"): "DOWN"},
    )
    over.update(state="RESOLVED", body="Teh end", at=began + timedelta(seconds=0.6))
    over.refresh_from_db()
    return over


def test_mended_typo_moves_no_update_and_reopens_nothing(admin, over):
    last = over.updates.first()
    path = f"/admin/incidents/incident/{over.pk}/updates/{last.pk}/"
    given = {"state": "RESOLVED", "body": "The end", "version": over.version}

    admin.post(path, given | {"at": shown_at(admin, path, "at")})

    ended = over.ended_at
    over.refresh_from_db()
    assert over.updates.first().body == "The end"
    assert (over.state, over.ended_at) == ("RESOLVED", ended)
    assert (over.updates.first().at, over.impacts.get().ended_at) == (ended, ended)


def test_update_is_moved_by_whole_seconds(admin, over):
    last = over.updates.first()
    path = f"/admin/incidents/incident/{over.pk}/updates/{last.pk}/"
    later = last.at.replace(microsecond=0) + timedelta(seconds=1)
    given = {"state": "RESOLVED", "body": last.body, "version": over.version}

    admin.post(path, given | {"at": f"{later:%Y-%m-%dT%H:%M:%S}"})

    over.refresh_from_db()
    assert (over.updates.first().at, over.ended_at) == (later, later)


def test_new_title_does_not_move_the_beginning(admin, over):
    path = over.admin_path
    given = {"title": "Orders failed", "severity": 1, "version": over.version}
    given |= {"started_at": shown_at(admin, path, "started_at"), "_revise": ""}

    admin.post(path, given)

    began = over.started_at
    over.refresh_from_db()
    assert (over.title, over.started_at) == ("Orders failed", began)
    assert not over.timeline.filter(kind="BEGAN").exists()


def test_owner_who_has_left_stays_the_owner(admin, incident, page):
    ben = User.objects.create_user("ben", is_staff=True)
    gone = User.objects.create_user("cleo", is_staff=True, is_active=False)
    incident.revise(at=timezone.now(), owner=ben)
    User.objects.filter(pk=ben.pk).update(is_active=False)
    html = admin.get(page).content.decode()
    began = f"{incident.started_at:%Y-%m-%dT%H:%M:%S}"
    given = {"title": "x", "severity": 1, "started_at": began, "_revise": ""}

    admin.post(page, given | {"owner": ben.pk, "version": incident.version})
    incident.refresh_from_db()
    other = admin.post(page, given | {"owner": gone.pk, "version": incident.version})

    assert f'<option value="{ben.pk}" selected>ben</option>' in html
    assert (incident.title, incident.owner) == ("x", ben)
    assert "Select a valid choice" in text(other)


# Monitors


def test_who_is_too_late_with_a_monitor_keeps_the_choice(
    admin, incident, page, make_monitor
):
    search = make_monitor("search")
    late = {"monitor": search.pk, "level": "PARTIAL", "version": incident.version}
    incident.update(state="MONITORING", body="It is mended.", at=timezone.now())

    shown = admin.post(page, late | {"_affect": ""})
    html = shown.content.decode()

    assert "Somebody else has changed this incident" in text(shown)
    assert f'<option value="{search.pk}" selected>' in html
    assert '<option value="PARTIAL" selected>' in html
    assert "errorlist" not in html
    assert html.count(f'name="version" value="{incident.version}"') == 3


def test_what_is_over_affects_no_further_monitor(admin, incident, page, make_monitor):
    search = make_monitor("search")
    incident.update(state="RESOLVED", body="Over.", at=timezone.now())
    given = {"monitor": search.pk, "level": "DOWN", "version": incident.version}

    shown = text(admin.get(page))
    refused = text(admin.post(page, given | {"_affect": ""}))

    assert "Add" not in shown.split("Impact")[1].split("Facts")[0]
    assert "It is resolved; write an update to reopen it first." in refused
    assert not incident.impacts.filter(monitor=search).exists()


# Who hears of it


@pytest.fixture
def private(open_incident, group):
    return open_incident("Breach", groups=[group])


def test_nobody_is_said_to_be_told_of_a_private_incident(admin, private):
    Subscriber.add("reader@example.org", at=timezone.now())

    shown = text(admin.get(private.admin_path))

    assert "confirmed subscribers" not in shown
    assert "Status pages 1" not in shown
    assert "Read by Security only" in shown
    assert "People read the newest one first" not in shown
    assert "Page only" not in shown
    assert re.search(r"Add Ctrl ↵ Preview", shown)


def test_private_incident_of_no_group_is_read_by_superusers(admin, private, group):
    group.delete()

    assert "Read by superusers only" in text(admin.get(private.admin_path))


def test_subscribers_are_said_to_be_told_of_a_public_incident(admin, incident, page):
    Subscriber.add("reader@example.org", at=timezone.now())

    shown = text(admin.get(page))

    assert "E-mail 1 confirmed subscribers" in shown
    assert "Publish Ctrl ↵ Preview" in shown


def test_head_names_a_promise_only_if_there_is_one(admin, incident, page):
    now = timezone.now()
    Incident.objects.filter(pk=incident.pk).update(nag_at=now)
    silent = text(admin.get(page))
    promised = {"state": "IDENTIFIED", "body": "b", "at": now}
    incident.update(**promised, next_update_at=now + timedelta(minutes=40, seconds=9))

    assert re.search(r"Post an update no news for \d", silent)
    assert re.search(
        r"Post an update By .* UTC next update in 40 min", text(admin.get(page))
    )


def test_nobody_opens_what_they_would_not_see(client, group, django_permission):
    ben = User.objects.create_user("ben", is_staff=True)
    names = ("view_incident", "add_incident", "change_incident")
    ben.user_permissions.set([django_permission(name) for name in names])
    ben.groups.add(Group.objects.create(name="Legal"))
    client.force_login(ben)

    refused = client.post(ADD, opening(groups=[group.pk]))
    assert "You are in none of these groups, and would not see it." in text(refused)
    assert not Incident.objects.exists()

    ben.groups.add(group)
    client.post(ADD, opening(groups=[group.pk]))
    assert Incident.objects.get().is_private


# Templates


def test_template_is_put_below_what_was_typed(admin, incident, page):
    words = UpdateTemplate.objects.create(
        name="Known", state="IDENTIFIED", body="We know the cause."
    )
    given = update(incident, body="Typed by hand.\n", template=words.pk, is_quiet="on")
    del given["_publish"]

    typed = admin.post(page, given | {"_fill": ""}).content.decode()
    empty = admin.post(page, given | {"_fill": "", "body": " "}).content.decode()

    assert "Typed by hand.\n\nWe know the cause.</textarea>" in typed
    assert ">\nWe know the cause.</textarea>" in empty
    assert re.search(r'value="IDENTIFIED"\s+checked', typed)
    assert re.search(r'name="is_quiet"[^>]* checked', typed)
    assert incident.updates.count() == 1


# How it reads


def lede(response):
    html = response.content.decode()
    [found] = re.findall(r'<p class="lede">(.*?)</p>', html, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found)).strip()


def story(response):
    """The rows of the timeline, as HTML."""
    [found] = re.findall(
        r'<ol class="line">(.*?)</ol>', response.content.decode(), re.S
    )
    return re.findall(r"<li.*?</li>", found, re.DOTALL)


def test_note_is_locked_and_named(admin, incident, page):
    incident.note("The pool is full.", at=timezone.now())

    note, told, *_ = story(admin.get(page))

    assert re.search(r'class="inside".*#g-lock.*Internal note', note, re.DOTALL)
    assert "inside" not in told
    assert "#g-lock" not in told


def test_lede_of_what_was_deleted_does_not_go_on(admin, incident, page):
    incident.delete_by_hand(at=timezone.now())

    assert lede(admin.get(page)) == "Minor · Deleted"


def test_lede_of_what_was_merged_does_not_go_on(admin, incident, page, open_incident):
    merging.merge(incident, open_incident(), at=timezone.now())

    assert lede(admin.get(page)) == "Minor · Merged"


def test_lede_of_a_discarded_draft_does_not_go_on(admin, open_incident):
    draft = open_incident(is_draft=True)
    draft.discard(at=timezone.now(), reason="A false alarm.")

    assert lede(admin.get(draft.admin_path)) == "Minor · Discarded"


def test_private_incident_says_so_in_the_list_and_in_its_lede(admin, private, incident):
    listed = admin.get("/admin/incidents/incident/").content.decode()

    assert listed.count("<small>private</small>") == 1
    assert "Private: seen by Security alone" in lede(admin.get(private.admin_path))
    assert "Private" not in lede(admin.get(incident.admin_path))


def test_fact_is_parted_from_who_did_it(admin, operator, incident, page):
    incident.revise(at=timezone.now(), owner=operator, author=operator)

    assert "Owner: ana · ana" in text(admin.get(page))


def test_fact_of_another_day_than_the_line_before_has_its_date(admin, incident, page):
    day = timedelta(days=1)
    midday = incident.started_at.replace(hour=12)
    for at in (midday - 3 * day, midday - 2 * day, midday - 2 * day):
        incident.timeline.create(kind="TITLE", text="Said", happened_at=at, actor="ana")

    *_, newer, same_day, older = [
        row for row in story(admin.get(page)) if "Said" in row
    ]

    date = f"{midday - 2 * day:%-d %b}"
    assert f"12:{midday:%M}<small>{date}</small>" in newer
    assert date not in same_day
    assert f"<small>{midday - 3 * day:%-d %b}</small>" in older


def test_number_is_among_the_facts(admin, incident, page):
    assert f"Number {incident.pk} " in text(admin.get(page)).split("Facts")[1]


def test_composer_is_filled_in_from_top_to_bottom(admin, incident, page):
    UpdateTemplate.objects.create(name="Known", state="IDENTIFIED", body="Known.")
    html = admin.get(page).content.decode()
    [form] = re.findall(r'<form[^>]* id="update".*?</form>', html, re.DOTALL)
    [impact] = incident.impacts.all()

    parts = ['name="state"', 'name="body"', 'name="template"', "_fill"]
    parts += [f'name="impact_{impact.monitor_id}"', 'name="next_update"']
    parts += ['name="at"', 'name="publish_at"', 'name="is_quiet"', "Who will be told"]
    parts += [f'name="{door}"' for door in ("_publish", "_preview", "_note")]
    places = [form.rindex(part) for part in parts]
    assert places == sorted(places)


# Taking an update back


@pytest.fixture
def own(incident):
    """The page of an update besides the first one."""
    at = timezone.now()
    written = incident.update(state="IDENTIFIED", body="The *pool* is full.", at=at)
    return f"/admin/incidents/incident/{incident.pk}/updates/{written.pk}/"


def test_nothing_is_taken_back_before_it_is_asked(admin, incident, own):
    asked = admin.post(own, {"_take_back": ""})

    assert "Take this update back?" in text(asked)
    assert "<em>pool</em>" in asked.content.decode()
    assert incident.updates.count() == 2

    admin.post(own, {"_taken_back": ""})
    assert incident.updates.count() == 1


# Publishing what waits


@pytest.fixture
def waiting(incident):
    later = timezone.now() + timedelta(hours=1)
    return incident.schedule(state="MONITORING", body="As stored.", publish_at=later)


@pytest.fixture
def page_of_waiting(incident, waiting):
    return f"/admin/incidents/incident/{incident.pk}/updates/{waiting.pk}/"


def test_what_is_typed_is_what_is_published(admin, incident, page_of_waiting):
    incident.refresh_from_db()
    given = {"state": "IDENTIFIED", "body": "As typed.", "version": incident.version}

    admin.post(page_of_waiting, given | {"_tell_now": ""})

    told = incident.updates.first()
    incident.refresh_from_db()
    assert (told.body, told.state) == ("As typed.", "IDENTIFIED")
    assert incident.state == "IDENTIFIED"


@pytest.mark.parametrize("fault", ["body", "version"])
def test_what_cannot_be_saved_is_not_published(
    admin, incident, waiting, page_of_waiting, fault
):
    incident.refresh_from_db()
    given = {"state": "IDENTIFIED", "body": "As typed.", "version": incident.version}
    wrong = {"body": " ", "version": incident.version - 1}

    shown = admin.post(page_of_waiting, given | {"_tell_now": "", fault: wrong[fault]})

    assert shown.status_code == 200
    assert incident.updates.count() == 1
    assert IncidentUpdate.every.get(pk=waiting.pk).body == "As stored."


def test_what_is_told_already_is_not_published_once_more(
    admin, incident, waiting, page_of_waiting
):
    waiting.publish(at=timezone.now())

    answer = admin.post(page_of_waiting, {"_tell_now": "", "body": "x"}, follow=True)

    assert "It is told already." in text(answer)
    assert incident.updates.first().body == "As stored."


# Impacts that somebody else has changed


def chosen(response, monitor):
    html = response.content.decode()
    [field] = re.findall(
        rf'<select name="impact_{monitor.pk}".*?</select>', html, re.DOTALL
    )
    [level] = re.findall(r'value="(\w*)" selected', field)
    return level


def as_shown(response):
    """What a browser sends back of the impacts if nobody touches them."""
    html = response.content.decode()
    shown = dict(re.findall(r'name="(was_impact_\d+)" value="(\w+)"', html))
    return shown | {name.removeprefix("was_"): level for name, level in shown.items()}


def test_conflict_shows_impacts_as_they_are_but_for_those_chosen(
    admin, incident, page, make_monitor
):
    shop = incident.impacts.get().monitor
    search, cart = make_monitor("search"), make_monitor("cart")
    at = timezone.now()
    incident.revise(at=at, impacts={shop: "DOWN", search: "DOWN"})
    late = update(incident, **as_shown(admin.get(page)))
    late[f"impact_{search.pk}"] = "UP"
    others = {shop: "PARTIAL", search: "DEGRADED", cart: "DEGRADED"}
    incident.revise(at=at, impacts=others)

    shown = admin.post(page, late)
    levels = [chosen(shown, monitor) for monitor in (shop, search, cart)]
    again = update(incident, **as_shown(shown))
    admin.post(page, again | {f"impact_{search.pk}": "UP"})

    assert levels == ["PARTIAL", "UP", "DEGRADED"]
    left = incident.impacts.filter(ended_at=None).values_list("monitor__tag", "level")
    assert {*left} == {("shop", "PARTIAL"), ("cart", "DEGRADED")}


def test_impact_chosen_before_a_template_outlives_a_conflict(admin, incident, page):
    shop = incident.impacts.get().monitor
    typed = as_shown(admin.get(page)) | {f"impact_{shop.pk}": "UP"}
    filled = admin.post(page, {**typed, "template": "", "_fill": ""})
    late = update(incident, **(as_shown(filled) | {f"impact_{shop.pk}": "UP"}))
    incident.revise(at=timezone.now(), impacts={shop: "PARTIAL"})

    assert chosen(admin.post(page, late), shop) == "UP"


# Who hears of a private one, on its pages


def test_panel_of_pages_tells_nobody_of_a_private_incident(admin, private, incident):
    hidden, public = (text(admin.get(i.admin_path)) for i in (private, incident))

    assert "subscribers are told as ever" in public
    assert "subscribers are told as ever" not in hidden
    assert "It is private: nobody outside is told." in hidden
