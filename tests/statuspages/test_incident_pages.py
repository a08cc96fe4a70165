"""An incident is global, or for chosen pages only."""

import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey
from incidents.merging import split
from incidents.models import Incident
from statuspages import snapshot
from statuspages.models import PageIncident, Snapshot, StatusPage

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def other(page):
    """A page besides the one at the root."""
    return StatusPage.objects.create(title="Partners", slug="partners")


@pytest.fixture
def choose(db):
    def choose(incident, *pages):
        return PageIncident.choose(incident, pages, at=timezone.now(), author="ana")

    return choose


@pytest.fixture
def reader(db):
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client


def built(page):
    return bytes(snapshot.build(page).body).decode()


def dirty():
    marked = Snapshot.objects.exclude(dirty_at=None)
    return set(marked.values_list("page__slug", flat=True))


def address(incident):
    return f"/api/v1/incidents/{incident.pk}/pages/"


def words(response):
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


# What the public sees


def test_incident_without_a_choice_shows_on_every_page(page, other, make_incident):
    make_incident(title="Everywhere")

    assert "Everywhere" in built(page)
    assert "Everywhere" in built(other)


def test_incident_shows_on_the_chosen_page_and_on_no_other(
    client, page, other, choose, make_incident
):
    incident = make_incident(title="Only partners")
    choose(incident, other)

    assert "Only partners" in built(other)
    assert "Only partners" not in built(page)
    assert b"Only partners" not in client.get("/").content
    assert b"Only partners" not in client.get("/history/").content
    assert client.get(incident.path).status_code == 404


def test_incident_chosen_for_the_page_has_its_address(
    client, page, other, choose, make_incident
):
    incident = make_incident(title="Chosen")
    choose(incident, page, other)

    assert client.get(incident.path).status_code == 200
    assert b"Chosen" in client.get("/history/").content


def test_past_incident_of_another_page_is_not_told_of(
    page, other, choose, make_incident, make_monitor, stand, resolve
):
    stand(make_monitor("web"), "up")
    incident = resolve(make_incident(title="Was for partners"))
    choose(incident, other)

    here, there = built(page), built(other)

    assert "Was for partners" not in here
    assert "No incident in the last seven days" in here
    assert "Was for partners" in there
    assert "The last incident ended" in there


def test_headline_is_not_of_an_incident_of_another_page(
    page, other, choose, make_incident, make_monitor, stand
):
    stand(make_monitor("web"), "up")
    choose(make_incident(title="Orders fail", severity=3), other)

    assert "<h1>Web is up</h1>" in built(page)
    assert "<h1>Orders fail</h1>" in built(other)


def test_state_of_a_monitor_is_the_same_on_every_page(
    page, other, choose, make_incident, make_monitor, stand
):
    monitor = make_monitor("web")
    stand(monitor, "up")
    choose(make_incident(monitor, title="Orders fail"), other)

    here, there = built(page), built(other)

    assert "<h1>Web is down</h1>" in here
    assert "<h1>Web is down</h1>" in there
    assert "Orders fail" not in here


def test_chosen_page_tells_of_what_it_does_not_watch_and_names_no_monitor(
    client, page, choose, make_monitor, make_incident
):
    page.shows_all = False
    page.save()
    incident = make_incident(make_monitor("hidden", name="Secret"), title="Trouble")
    assert "Trouble" not in built(page)

    choose(incident, page)

    assert "Trouble" in built(page)
    shown = client.get(incident.path).content.decode()
    assert "Trouble" in shown
    assert "Secret" not in shown


def test_older_months_skip_what_is_for_another_page(
    client, page, other, choose, make_incident, time_machine
):
    time_machine.move_to("2026-11-21T14:32:00Z")
    choose(make_incident(back=60 * 24 * 100), other)

    assert b"/history/2026-08/" not in client.get("/history/").content


def test_taking_the_choice_back_shows_it_everywhere(
    client, page, other, choose, make_incident
):
    incident = make_incident()
    choose(incident, other)

    choose(incident)

    assert client.get(incident.path).status_code == 200
    assert not PageIncident.objects.exists()


def test_incident_of_a_page_that_is_gone_shows_nowhere(
    client, page, other, choose, make_incident
):
    incident = make_incident(title="Only partners")
    choose(incident, other)
    other.delete()

    assert client.get(incident.path).status_code == 404
    assert "Only partners" not in built(page)


def test_choices_cost_the_public_no_query_more(
    client, page, other, choose, make_incident, make_monitor
):
    page.shows_all = False
    page.save()
    monitor = make_monitor("web")
    page.shown.create(monitor=monitor)
    trouble, asked = [], []

    def visit():
        with CaptureQueriesContext(connection) as queries:
            history = client.get("/history/").content.decode()
            said = snapshot.context_of(page, at=timezone.now())
            body = snapshot.render(said).decode()
        assert all(f">{incident.title}</a>" in history for incident in trouble)
        assert all(f">{incident.title}</a>" in body for incident in trouble)
        asked.append(len(queries))

    for number in (1, 30):
        for n in range(len(trouble), number):
            trouble.append(make_incident(monitor, title=f"No {n}"))
        visit()
        for incident in trouble:
            choose(incident, page, other)
        visit()

    assert len(set(asked)) == 1


# Choosing


def test_choice_is_written_in_the_timeline(page, other, choose, make_incident):
    incident = make_incident()
    version = incident.version

    choose(incident, page, other)
    choose(incident)

    incident.refresh_from_db()
    newest, before = incident.timeline.all()[:2]
    assert (before.kind, before.actor) == ("PRIVACY", "ana")
    assert before.text == "Shown only on: Example status, Partners"
    assert before.facts == {"pages": ["status", "partners"]}
    assert newest.text == "Shown on all pages it concerns"
    assert newest.facts == {"pages": []}
    assert incident.version == version + 2


def test_same_choice_again_does_nothing(page, other, choose, make_incident):
    incident = make_incident()
    assert choose(incident, other)
    Snapshot.objects.update(dirty_at=None)
    told = incident.timeline.count()

    assert not choose(incident, other)

    assert incident.timeline.count() == told
    assert dirty() == set()


def test_only_pages_concerned_are_built_anew(page, other, choose, make_incident):
    third = StatusPage.objects.create(title="Third", slug="third")
    for one in (page, other, third):
        snapshot.build(one)
    incident = make_incident()
    Snapshot.objects.update(dirty_at=None)

    choose(incident, other)
    assert dirty() == {"status", "partners", "third"}

    Snapshot.objects.update(dirty_at=None)
    choose(incident, other, third)
    assert dirty() == {"third"}

    Snapshot.objects.update(dirty_at=None)
    choose(incident, page, third)
    assert dirty() == {"status", "partners"}

    Snapshot.objects.update(dirty_at=None)
    choose(incident)
    assert dirty() == {"status", "partners", "third"}


# Over the API


def test_pages_are_read_and_chosen_over_the_api(api, page, other, make_incident):
    incident = make_incident()
    assert api.get(address(incident)).json() == {"pages": [], "is_global": True}

    answer = api.put(address(incident), {"pages": ["partners"]}, format="json")

    assert answer.status_code == 200
    assert answer.json() == {"pages": ["partners"], "is_global": False}
    assert api.get(address(incident)).json() == answer.json()
    assert incident.timeline.first().actor == "tests"

    answer = api.put(address(incident), {"pages": []}, format="json")
    assert answer.json() == {"pages": [], "is_global": True}


def test_api_tells_that_the_chosen_page_is_gone(
    api, page, other, choose, make_incident
):
    incident = make_incident()
    choose(incident, other)
    other.delete()

    assert api.get(address(incident)).json() == {"pages": [], "is_global": False}


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"pages": "partners"},
        {"pages": ["nowhere"]},
        {"pages": [NASTY]},
        {"pages": ["\0"]},
        {"pages": [["partners"]]},
        {"pages": None},
        {"pages": ["partners"], "is_global": False},
        {"pages": ["partners"], "more": 1},
    ],
)
def test_unfit_choice_is_refused(sent, api, page, other, make_incident):
    incident = make_incident()

    answer = api.put(address(incident), sent, format="json")

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not PageIncident.objects.exists()


def test_readers_may_not_choose(reader, page, other, make_incident):
    incident = make_incident()

    assert reader.get(address(incident)).status_code == 200
    answer = reader.put(address(incident), {"pages": ["partners"]}, format="json")
    assert answer.status_code == 403
    assert not PageIncident.objects.exists()


def test_what_a_key_may_not_see_is_not_found(api, reader, page, make_incident):
    draft, deleted = make_incident(), make_incident()
    Incident.objects.filter(pk=draft.pk).update(published_at=None)
    deleted.delete_by_hand(at=timezone.now())

    assert api.get(address(draft)).status_code == 200
    assert reader.get(address(draft)).status_code == 404
    assert api.get(address(deleted)).status_code == 404
    assert api.put(address(deleted), {"pages": []}, format="json").status_code == 404
    assert api.get("/api/v1/incidents/99999999999999999999/pages/").status_code == 404


def test_pages_of_a_private_incident_are_for_its_groups(
    api, page, other, make_incident
):
    incident = make_incident()
    Incident.objects.update(published_at=None, is_private=True)

    assert api.get(address(incident)).status_code == 404
    answer = api.put(address(incident), {"pages": ["partners"]}, format="json")
    assert answer.status_code == 404
    assert not PageIncident.objects.exists()


def test_pages_of_a_discarded_draft_are_not_chosen(api, page, other, make_incident):
    incident = make_incident()
    Incident.objects.update(published_at=None)
    incident.discard(at=timezone.now())

    answer = api.put(address(incident), {"pages": ["partners"]}, format="json")

    assert answer.status_code == 409
    assert not PageIncident.objects.exists()


@pytest.mark.parametrize("number", [1, 30])
def test_api_reads_any_number_of_pages_in_as_many_queries(
    number, api, choose, make_incident, django_assert_max_num_queries
):
    pages = [
        StatusPage.objects.create(title=f"P{n}", slug=f"p{n}") for n in range(number)
    ]
    incident = make_incident()
    choose(incident, *pages)

    with django_assert_max_num_queries(5):
        answer = api.get(address(incident))

    assert len(answer.json()["pages"]) == number


# In the workspace


def workspace(incident):
    return f"/admin/incidents/incident/{incident.pk}/change/"


def send(client, incident, *pages, shows="some"):
    chosen = {"shows": shows, "pages": [page.pk for page in pages]}
    where = f"/admin/incidents/incident/{incident.pk}/pages/"
    return client.post(where, chosen, follow=True)


def test_operator_chooses_the_pages(admin, operator, page, other, make_incident):
    incident = make_incident()
    assert 'value="all"' in admin.get(workspace(incident)).content.decode()

    shown = send(admin, incident, other)

    assert "Chose the pages it shows on." in words(shown)
    assert "Shown only on: Partners" in words(shown)
    html = shown.content.decode()
    assert re.search(rf'value="{other.pk}"[^>]* checked', html)
    assert not re.search(rf'name="pages" value="{page.pk}"[^>]* checked', html)
    assert "Status pages 1 Partners" in words(shown)
    assert incident.timeline.first().actor == operator.username


def test_operator_shows_it_on_all_pages_again(
    admin, page, other, choose, make_incident
):
    incident = make_incident()
    choose(incident, other)

    shown = send(admin, incident, other, shows="all")

    assert "Shown on all pages it concerns" in words(shown)
    assert not PageIncident.objects.exists()


def test_only_these_wants_a_page(admin, page, choose, make_incident):
    incident = make_incident()
    choose(incident, page)

    assert "Tick a page, or choose all it concerns." in words(send(admin, incident))
    assert PageIncident.objects.get().page == page


def test_what_is_not_a_page_is_refused(admin, page, make_incident):
    incident = make_incident()
    where = f"/admin/incidents/incident/{incident.pk}/pages/"

    shown = admin.post(where, {"shows": "some", "pages": ["0", NASTY]}, follow=True)

    assert NASTY not in shown.content.decode()
    assert not PageIncident.objects.exists()


def test_hostile_title_of_a_page_is_escaped(admin, client, page, choose, make_incident):
    hostile = StatusPage.objects.create(title=NASTY, slug="nasty")
    incident = make_incident()
    choose(incident, hostile)

    shown = admin.get(workspace(incident)).content.decode()

    assert "&lt;img src=x" in shown
    assert NASTY not in shown


def test_who_may_only_look_chooses_nothing(client, page, other, make_incident):
    incident = make_incident()
    viewer = get_user_model().objects.create_user("eve", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_incident"))
    client.force_login(viewer)

    shown = client.get(workspace(incident))

    assert "All pages it concerns" in words(shown)
    assert f"/{incident.pk}/pages/" not in shown.content.decode()
    assert send(client, incident, other).status_code == 403
    assert not PageIncident.objects.exists()


def test_choosing_wants_a_login_and_a_post(admin, client, page, make_incident):
    incident = make_incident()
    where = f"/admin/incidents/incident/{incident.pk}/pages/"

    assert client.post(where, {"shows": "all"}).status_code == 302
    assert "/login/" in client.post(where, {"shows": "all"}).headers["Location"]
    assert admin.get(where).status_code == 405
    assert admin.post("/admin/incidents/incident/0/pages/").status_code == 404


def test_deleted_incident_says_where_it_was_and_offers_nothing(
    admin, page, other, choose, make_incident
):
    incident = make_incident()
    choose(incident, other)
    incident.delete_by_hand(at=timezone.now())

    assert (
        f"/{incident.pk}/pages/" not in admin.get(workspace(incident)).content.decode()
    )
    assert send(admin, incident, page).status_code == 403
    assert PageIncident.objects.get().page == other


def test_what_is_split_off_shows_where_the_first_one_does(
    page, other, choose, make_monitor
):
    shop, mail = make_monitor("shop"), make_monitor("mail")
    now = timezone.now()
    incident = Incident.open(
        title="Both",
        summary="x",
        started_at=now,
        at=now,
        source="API",
        impacts={shop: "DOWN", mail: "DOWN"},
    )
    choose(incident, other)

    split(incident, [mail], title="Mail alone", summary="x", at=now)

    assert "Mail alone" in built(other)
    assert "Mail alone" not in built(page)
