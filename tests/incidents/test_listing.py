"""Lists of many incidents: what is found, in which order, by how many queries."""

import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey
from incidents import listing
from incidents.admin import IncidentAdmin
from incidents.models import Incident
from monitors.models import Label, Monitor
from statuspages import snapshot
from statuspages.models import StatusPage

LIST = "/admin/incidents/incident/"
API = "/api/v1/incidents/"
# Queries of a page, whatever it is asked, with those that every page makes.
MOST = 6


@pytest.fixture
def make_incident(make_monitor, operator):
    """Make incidents one an hour earlier than the other, each of its own monitor."""
    label = Label.objects.create(name="checkout")

    def make(n, title="Orders fail", summary="They fail, and fail.", **more):
        at = timezone.now() - timedelta(hours=n)
        facts = {"owner": operator, "labels": [label], "source": "API", **more}
        impacts = {make_monitor(f"m{n}"): "DOWN"}
        return Incident.open(
            title=title, summary=summary, started_at=at, at=at, impacts=impacts, **facts
        )

    return make


def asked(client, path):
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


def titles(admin, query):
    html = admin.get(f"{LIST}?{query}").content.decode()
    return re.findall(r"field-title[^>]*><a[^>]*>([^<]*)</a>", html)


def of_admin(operator, label):
    return [
        *("", "q=fail", "q=m", 'q="fail, and"', "q=they+fail", "q=fail&open=yes"),
        *("open=yes", "open=no", "seen=public", "seen=draft", "seen=private"),
        *("state__exact=INVESTIGATING", "severity__exact=1", "source__exact=API"),
        *(f"owner__id__exact={operator.pk}", f"labels__id__exact={label.pk}"),
        *("deleted=all", "deleted=yes", "started_at__gte=2026-01-01T00:00:00Z"),
        *(f"o={column}" for column in (1, -2, 3, 5, 6, -7, 8, 9)),
    ]


OF_API = [
    *("", "search=fail", "search=m", "state=INVESTIGATING", "source=API"),
    *("open=true", "open=false", "owner=ana", "label=checkout", "monitor=m0"),
    *("draft=false", "draft=true"),
]


def test_admin_list_needs_at_most_six_queries(admin, operator, make_incident):
    make_incident(0)
    snapshot.build(StatusPage.default())
    paths = [f"{LIST}?{q}" for q in of_admin(operator, Label.objects.get())]
    few = {path: asked(admin, path) for path in paths}
    for n in range(1, 30):
        make_incident(n)
    snapshot.build(StatusPage.default())

    assert {path: asked(admin, path) for path in paths} == few
    assert {path for path, queries in few.items() if queries > MOST} == set()


def test_api_list_needs_at_most_six_queries(api, make_incident):
    make_incident(0)
    paths = [f"{API}?{query}" for query in OF_API]
    asked(api, API)  # notes the use of the key
    few = {path: asked(api, path) for path in paths}
    for n in range(1, 30):
        make_incident(n)

    assert {path: asked(api, path) for path in paths} == few
    assert max(few.values()) <= MOST


def test_search_finds_what_has_each_word_somewhere_and_once(admin, make_incident):
    make_incident(0, "Orders fail", "Disk 7 and disk 8 are broken.")
    make_incident(1, "Mails come late", "Disk 7 is broken.")
    deleted = make_incident(2, "Images are slow", "A fan.")
    late = Incident.objects.get(title="Mails come late")
    late.update(state="IDENTIFIED", body="The disk, again.", at=timezone.now())
    gone = deleted.update(state="IDENTIFIED", body="Disk?", at=timezone.now())
    gone.take_back(at=timezone.now())

    assert titles(admin, "q=disk") == ["Orders fail", "Mails come late"]
    assert titles(admin, "q=disk+orders") == ["Orders fail"]
    assert titles(admin, "q=%22disk+8%22") == ["Orders fail"]
    assert titles(admin, "q=M1") == ["Mails come late"]
    assert titles(admin, "q=disk&o=1") == ["Mails come late", "Orders fail"]
    assert titles(admin, "q=nothing") == []
    assert titles(admin, "q=%22") == []


def test_pages_follow_each_other_in_any_order(admin, make_incident):
    for n in range(60):
        make_incident(n, f"Trouble {n:02}")
    expected = [f"Trouble {n:02}" for n in range(60)]

    for query in ("o=1", "", "q=trouble", "q=trouble&o=1"):
        both = titles(admin, query) + titles(admin, f"{query}&p=2")
        assert both == expected, query
        assert len(titles(admin, f"{query}&all=")) == 60
    assert titles(admin, "o=-1")[0] == "Trouble 59"
    assert admin.get(f"{LIST}?q=trouble&p=9").headers["Location"].endswith("?e=1")


def test_reader_cannot_find_out_what_is_in_a_note(api, make_incident):
    reader = APIClient()
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    reader.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    make_incident(0).note("The password was in the log.", at=timezone.now())

    def found(client, words):
        answer = client.get(API, {"search": words}).json()
        return len(answer["results"])

    assert found(api, "password") == 1
    assert found(reader, "password") == 0
    assert found(reader, "orders they") == found(reader, "m0") == 1
    assert found(reader, "orders bank") == 0


def test_names_of_monitors_are_found_in_any_case_of_any_script(
    admin, make_incident, make_monitor
):
    make_incident(0)
    Monitor.objects.update(name="МАГАЗИН Ärger (EU)")

    for words in ("магазин", "ÄRGER", '"ärger (eu)"'):
        assert titles(admin, urlencode({"q": words})) == ["Orders fail"], words
    for words in ("м.газин", "(eu", "ärger."):
        expected = ["Orders fail"] if words == "(eu" else []
        assert titles(admin, urlencode({"q": words})) == expected, words


def test_filter_by_what_no_incident_has_finds_none(admin, make_incident):
    make_incident(0)
    unused = Label.objects.create(name="unused")
    nobody = User.objects.create_user("nobody")

    assert titles(admin, f"labels__id__exact={unused.pk}") == []
    assert titles(admin, f"owner__id__exact={nobody.pk}") == []


def test_what_is_done_with_all_found_is_done_with_those_alone(
    admin, make_incident, monkeypatch
):
    monkeypatch.setattr(listing, "MOST_FOUND", 3)
    for n in range(5):
        make_incident(n, f"Trouble {n}")
    make_incident(5, "Other")
    asked = {"action": "delete_selected", "select_across": 1, "index": 0}

    asked |= {"_selected_action": Incident.objects.first().pk, "post": "yes"}
    admin.post(f"{LIST}?q=trouble", asked)

    left = Incident.objects.current().values_list("title", flat=True)
    assert list(left) == ["Trouble 3", "Trouble 4", "Other"]


def test_all_that_are_too_many_are_shown_by_pages(admin, make_incident, monkeypatch):
    monkeypatch.setattr(IncidentAdmin, "list_max_show_all", 40)
    for n in range(61):
        make_incident(n, f"Trouble {n:02}")

    assert titles(admin, "all=") == [f"Trouble {n:02}" for n in range(30)]
    assert titles(admin, "all=&p=3") == ["Trouble 60"]
    Incident.objects.filter(title__lt="Trouble 30").delete()
    assert titles(admin, "all=&p=2") == [f"Trouble {n:02}" for n in range(30, 61)]
