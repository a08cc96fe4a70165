import gzip
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.http import Http404
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert
from incidents.models import Incident, Relation
from monitors.models import MonitorState
from statuspages import snapshot, views
from statuspages.models import PageIncident, ShownMonitor, Snapshot, StatusPage


def age(length):
    Snapshot.objects.update(built_at=timezone.now() - length)


def test_page_costs_one_read(client, page, django_assert_num_queries):
    built = snapshot.build(page)

    with django_assert_num_queries(1):
        response = client.get("/")

    assert response.content == bytes(built.body)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=0, s-maxage=5"
    assert "Cookie" not in response.headers["Vary"]
    assert not response.cookies


def test_page_is_not_sent_again_to_who_has_it(client, page):
    snapshot.build(page)
    etag = client.get("/").headers["ETag"]

    response = client.get("/", headers={"If-None-Match": etag})

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["ETag"] == etag
    assert "Cache-Control" in response.headers


def test_page_is_sent_compressed_to_who_takes_it(client, page):
    built = snapshot.build(page)

    response = client.get("/", headers={"Accept-Encoding": "br, gzip"})

    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.content) == bytes(built.body)


def test_page_is_sent_plain_to_who_refuses_gzip(client, page):
    snapshot.build(page)

    response = client.get("/", headers={"Accept-Encoding": "gzip;q=0"})

    assert "Content-Encoding" not in response.headers


def test_page_answers_safe_methods_only(client, page):
    snapshot.build(page)

    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405


def test_first_visit_builds_the_page(client, db):
    response = client.get("/")

    assert b"Nothing is watched yet" in response.content
    assert Snapshot.objects.get().built_at


def test_visit_builds_anew_when_no_worker_does(client, page, make_monitor, stand):
    monitor = make_monitor("web", name="Website")
    stand(monitor, "up")
    snapshot.build(page)
    long_ago = timezone.now() - timedelta(minutes=5)
    MonitorState.objects.update(fresh_until=long_ago)
    age(timedelta(minutes=3))

    response = client.get("/")

    # Nobody has looked since: not green.
    assert b"We cannot see Website" in response.content
    assert Snapshot.objects.get().built_at > timezone.now() - timedelta(minutes=1)


def test_visit_leaves_a_recent_page_to_the_workers(client, page):
    snapshot.build(page)
    age(timedelta(minutes=1))
    before = Snapshot.objects.get().built_at

    client.get("/")

    assert Snapshot.objects.get().built_at == before


def test_old_page_is_served_when_none_can_be_built(client, page, monkeypatch, caplog):
    body = bytes(snapshot.build(page).body)
    age(timedelta(minutes=3))

    def broken(page, *, at):
        raise RuntimeError("broken")

    monkeypatch.setattr(snapshot, "render", broken)

    assert client.get("/").content == body
    assert "could not be built" in caplog.text


def test_incident_shows_all_of_it(client, page, make_monitor, make_incident, resolve):
    incident = make_incident(make_monitor("web", name="Website"), body="We **look**.")
    incident.update(state="IDENTIFIED", body="A full disk.", at=timezone.now())
    resolve(incident)

    response = client.get(incident.path)

    html = response.content.decode()
    assert response.status_code == 200
    assert "<h1>Orders fail</h1>" in html
    assert "Resolved after 30 minutes: " in html
    for said in ("<strong>look</strong>", "A full disk.", "It is over.", "Website"):
        assert said in html
    assert "ETag" in response.headers


def test_incident_of_an_alert_tells_when_it_was_noticed(
    client, page, make_monitor, make_rule
):
    monitor, now = make_monitor("web"), timezone.now()
    rule = make_rule(monitor)
    alert = Alert.objects.create(
        rule=rule,
        monitor=monitor,
        began_at=now - timedelta(minutes=5),
        triggered_at=now - timedelta(minutes=3),
        monitor_name="Web",
        alert_for="STATUS",
        alert_value="DOWN",
        failure_threshold=3,
        success_threshold=2,
        severity="CRITICAL",
        create_incident=True,
        observed="down",
    )
    incident = Incident.open_for(alert, at=now)

    html = client.get(incident.path).content.decode()

    assert "Noticed after" in html
    assert "2 minutes" in html
    assert "Failure Threshold" in html


def test_incident_says_when_more_is_promised(client, page, make_incident):
    now = timezone.now()
    incident = make_incident()
    by = now + timedelta(minutes=30)
    incident.update(state="IDENTIFIED", body="Found.", at=now, next_update_at=by)

    shown = client.get(incident.path).content.decode()

    assert "Next update" in shown
    assert f"by {by.astimezone(page.zone):%H:%M}" in " ".join(
        re.sub("<[^>]+>", "", shown).split()
    )

    incident.update(state="RESOLVED", body="Done.", at=now)
    assert "Next update" not in client.get(incident.path).content.decode()


def test_update_that_was_edited_says_so(client, page, make_incident):
    incident = make_incident()
    update = incident.updates.get()
    assert "<small>edited</small>" not in client.get(incident.path).content.decode()

    update.edit(body="Other words.", at=timezone.now())

    shown = client.get(incident.path).content.decode()
    assert "<small>edited</small>" in shown
    assert "Other words." in shown


def test_incident_that_is_deleted_is_not_found(client, page, make_incident):
    incident = make_incident(title="Secret trouble")
    incident.delete_by_hand(at=timezone.now())

    response = client.get(incident.path)

    assert response.status_code == 404
    assert b"There is nothing at this address" in response.content
    assert b"Secret" not in response.content


def test_incident_that_is_not_published_is_not_found(client, page, make_incident):
    incident = make_incident()
    Incident.objects.update(published_at=None)

    assert client.get(incident.path).status_code == 404


def test_incident_of_a_hidden_monitor_is_not_found(
    client, page, make_monitor, make_incident
):
    shown, hidden = make_monitor("shown"), make_monitor("hidden", name="Secret")
    page.shows_all = False
    page.save()
    ShownMonitor.objects.create(page=page, monitor=shown)
    alone = make_incident(hidden)
    shared = make_incident(shown, hidden)

    assert client.get(alone.path).status_code == 404
    assert b"Secret" not in client.get(shared.path).content


@pytest.mark.parametrize("number", [1, 30])
def test_incident_needs_seven_queries_for_any_number(
    number, client, page, make_monitor, make_incident, django_assert_num_queries
):
    incident = make_incident(*(make_monitor(f"m{n}") for n in range(number)))
    for _ in range(number):
        incident.update(state="IDENTIFIED", body="News.", at=timezone.now())

    with django_assert_num_queries(7):
        client.get(incident.path)


@pytest.fixture
def relate(db):
    def relate(incident, other, kind="RELATED"):
        return Relation.objects.create(incident=incident, other=other, kind=kind)

    return relate


def links(response):
    """The numbers of the incidents that a page leads to."""
    return set(map(int, re.findall(rb'href="/incidents/(\d+)/"', response.content)))


def test_incident_leads_to_what_it_is_related_to_both_ways(
    client, page, make_incident, relate
):
    one, two, three = (make_incident(title=t) for t in ("One", "Two", "Three"))
    relate(one, two)
    relate(three, one, kind="DUPLICATE")

    assert links(client.get(one.path)) == {two.pk, three.pk}
    assert links(client.get(two.path)) == {one.pk}
    assert links(client.get(three.path)) == {one.pk}
    assert b"Related" in client.get(one.path).content


def test_incident_without_relations_says_nothing_of_them(client, page, make_incident):
    assert b"Related" not in client.get(make_incident().path).content


@pytest.mark.parametrize(
    "hidden",
    [
        {"published_at": None},
        {"deleted_at": timezone.now()},
        {"published_at": None, "is_private": True},
    ],
)
def test_relation_to_what_is_not_public_is_not_told(
    hidden, client, page, make_incident, relate
):
    one, other = make_incident(), make_incident(title="Secret trouble")
    relate(one, other)
    relate(make_incident(title="Third"), other)
    Incident.objects.filter(pk=other.pk).update(**hidden)

    response = client.get(one.path)

    assert response.status_code == 200
    assert b"Secret trouble" not in response.content
    assert links(response) == set()


def test_relation_to_what_was_merged_is_not_told(client, page, make_incident, relate):
    one, merged, target = make_incident(), make_incident(), make_incident()
    relate(one, merged)
    Incident.objects.filter(pk=merged.pk).update(merged_into=target)

    assert links(client.get(one.path)) == set()


def test_relation_to_what_shows_on_other_pages_is_not_told(
    client, page, make_incident, relate
):
    partners = StatusPage.objects.create(title="Partners", slug="partners")
    one, other = make_incident(), make_incident()
    relate(one, other)
    PageIncident.objects.create(page=partners, incident=other)

    assert links(client.get(one.path)) == set()


def test_title_of_what_is_related_is_escaped(client, page, make_incident, relate):
    one = make_incident()
    relate(one, make_incident(title="<img src=x onerror=alert(1)>"))

    html = client.get(one.path).content.decode()

    assert "<img" not in html
    assert "&lt;img" in html


def test_relations_need_as_many_queries_for_few_as_for_many(
    client, page, make_monitor, make_incident, relate
):
    incident, monitor = make_incident(make_monitor("web")), make_monitor("shop")
    asked = []
    for number in (1, 30):
        for n in range(number):
            relate(incident, make_incident(monitor, title=f"To {number} {n}"))
            relate(make_incident(monitor, title=f"From {number} {n}"), incident)
        with CaptureQueriesContext(connection) as queries:
            response = client.get(incident.path)
        asked.append(len(queries))

    assert len(links(response)) == 62
    assert asked[0] == asked[1]


def merge(incident, target):
    Incident.objects.filter(pk=incident.pk).update(merged_into=target)


def test_merged_incident_leads_to_where_it_is_told_of(client, page, make_incident):
    merged, target = make_incident(title="Was merged"), make_incident()
    merge(merged, target)

    response = client.get(merged.path)

    assert response.status_code == 302
    assert response.headers["Location"] == target.path
    assert response.headers["Cache-Control"] == "public, max-age=0, s-maxage=5"
    assert b"Was merged" not in client.get("/").content
    assert b"Was merged" not in client.get("/history/").content

    merge(merged, None)
    assert client.get(merged.path).status_code == 200


def test_merged_incident_leads_along_further_merges(client, page, make_incident):
    first, second, target = (make_incident() for _ in range(3))
    merge(first, second)
    merge(second, target)

    assert client.get(first.path).headers["Location"] == target.path
    assert client.get(second.path).headers["Location"] == target.path


def test_merges_in_a_circle_lead_nowhere(client, page, make_incident):
    one, other = make_incident(), make_incident()
    merge(one, other)
    merge(other, one)

    assert client.get(one.path).status_code == 404


@pytest.mark.parametrize(
    "hidden",
    [
        {"published_at": None},
        {"deleted_at": timezone.now()},
        {"published_at": None, "is_private": True},
    ],
)
@pytest.mark.parametrize("which", ["merged", "target"])
def test_merged_incident_leads_from_and_to_what_is_public(
    which, hidden, client, page, make_incident
):
    pair = {"merged": make_incident(), "target": make_incident()}
    merge(pair["merged"], pair["target"])
    Incident.objects.filter(pk=pair[which].pk).update(**hidden)

    assert client.get(pair["merged"].path).status_code == 404


@pytest.mark.parametrize("which", ["merged", "target"])
def test_merged_incident_leads_to_nothing_of_other_pages(
    which, client, page, make_incident
):
    partners = StatusPage.objects.create(title="Partners", slug="partners")
    pair = {"merged": make_incident(), "target": make_incident()}
    merge(pair["merged"], pair["target"])
    PageIncident.objects.create(page=partners, incident=pair[which])

    assert client.get(pair["merged"].path).status_code == 404


def test_incident_escapes_its_title(client, page, make_incident):
    incident = make_incident(title="<img src=x onerror=alert(1)>")

    html = client.get(incident.path).content.decode()

    assert "<img" not in html


def test_history_tells_a_month_by_day(client, page, make_incident, time_machine):
    time_machine.move_to("2026-11-21T14:32:00Z")
    make_incident(title="Lately")
    make_incident(title="In October", back=60 * 24 * 30)

    november = client.get("/history/").content.decode()
    october = client.get("/history/2026-10/").content.decode()

    assert "Lately" in november
    assert "Saturday 21 November" in november
    assert "In October" not in november
    assert 'href="/history/2026-10/"' in november
    assert "In October" in october
    assert 'href="/history/2026-11/"' in october


def test_history_skips_months_without_incidents(
    client, page, make_incident, time_machine
):
    time_machine.move_to("2026-11-21T14:32:00Z")
    make_incident(back=60 * 24 * 100)

    html = client.get("/history/").content.decode()

    assert "No incident began in November" in html
    assert 'href="/history/2026-08/"' in html


@pytest.mark.parametrize("month", ["2999-01", "2026-13", "x", "0000-01", "2026-1x"])
def test_history_of_no_month_is_not_found(month, client, page):
    assert client.get(f"/history/{month}/").status_code == 404


@pytest.mark.parametrize("number", [1, 30])
def test_history_needs_six_queries_for_any_number(
    number, client, page, make_monitor, make_incident, django_assert_num_queries
):
    monitor = make_monitor("web")
    for n in range(number):
        make_incident(monitor, title=f"Trouble {n}", back=1)

    with django_assert_num_queries(6):
        client.get("/history/")


def test_month_with_many_incidents_has_parts(client, page, make_incident, time_machine):
    time_machine.move_to("2026-11-21T14:32:00Z")
    for n in range(51):
        make_incident(title=f"Trouble {n:02}.", back=n)

    first = client.get("/history/").content.decode()
    second = client.get("/history/2026-11/?page=2").content.decode()

    assert "51 incidents" in first
    assert "51 incidents" in second
    assert ("Trouble 49." in first, "Trouble 50." in first) == (True, False)
    assert ("Trouble 49." in second, "Trouble 50." in second) == (False, True)
    assert 'href="/history/2026-11/?page=2"' in first
    assert 'href="/history/2026-11/?page=1"' in second
    for number in ("3", "0", "x", "9" * 30):
        assert client.get(f"/history/?page={number}").status_code == 404


def test_unknown_address_gets_a_page_of_ours(client, page):
    response = client.get("/nothing/here/")

    assert response.status_code == 404
    assert b"Example status" in response.content


def test_unknown_address_is_answered_before_there_is_a_page(db):
    response = views.not_found(RequestFactory().get("/x"), Http404())

    assert response.status_code == 404


def test_failing_page_says_so(client, page, monkeypatch):
    def broken(page, *, at):
        raise RuntimeError("broken")

    monkeypatch.setattr(snapshot, "render", broken)
    client.raise_request_exception = False

    response = client.get("/")

    assert response.status_code == 500
    assert b"This page could not be made" in response.content


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        *("/history/0001-01/", "/history/9999-12/", "/history/x/"),
        *("/incidents/99999999999999999999/", "/unsubscribe/%00/"),
        "/subscribe/confirm/%00/",
    ],
)
def test_addresses_nobody_means_are_not_found(path, client):
    page = StatusPage.default()
    page.timezone = "Europe/Berlin"
    page.save()

    assert client.get(path).status_code == 404
