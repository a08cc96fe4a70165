from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from incidents.models import Maintenance, severity_labels
from monitors.models import Overlay
from statuspages import snapshot
from statuspages.models import ShownMonitor, Snapshot, StatusPage

DAY = timedelta(days=1)


@pytest.fixture(params=[1, 30], ids=["one", "thirty"])
def crowd(request, page, make_monitor, make_incident, resolve, stand):
    for n in range(request.param):
        monitor = make_monitor(f"m{n}")
        stand(monitor, "down")
        open_now = make_incident(monitor, title=f"Open {n}")
        open_now.update(state="IDENTIFIED", body="Found.", at=timezone.now())
        resolve(make_incident(monitor, title=f"Over {n}"))
        ShownMonitor.objects.create(page=page, monitor=monitor, section=f"S{n % 3}")
        soon = timezone.now() + timedelta(hours=n + 1)
        planned = Maintenance(title="Upgrade", starts_at=soon, ends_at=soon + DAY)
        planned.schedule(at=timezone.now(), impacts={monitor: "MAINTENANCE"})
    return page


def test_build_needs_twelve_queries_for_any_number(crowd, django_assert_num_queries):
    severity_labels.forget()
    with django_assert_num_queries(12):
        snapshot.render(snapshot.context_of(crowd, at=timezone.now()))


def test_building_makes_the_default_page(db):
    snapshot.build_due()

    made = Snapshot.objects.get()
    assert made.page.is_default
    assert b"Nothing is watched yet" in bytes(made.body)
    assert made.dirty_at is None


def test_building_leaves_a_fresh_page_alone(page):
    snapshot.build_due()
    before = Snapshot.objects.get().built_at

    snapshot.build_due()

    assert Snapshot.objects.get().built_at == before


def test_building_builds_what_is_marked(page):
    snapshot.build_due()
    before = Snapshot.objects.get().built_at
    Snapshot.mark_dirty()

    snapshot.build_due()

    assert Snapshot.objects.get().built_at > before


def test_mark_made_while_building_is_kept(page, monkeypatch):
    render = snapshot.render

    def slow(context):
        body = render(context)
        Snapshot.mark_dirty()
        return body

    monkeypatch.setattr(snapshot, "render", slow)
    snapshot.build(page)
    assert Snapshot.objects.get().dirty_at is not None

    monkeypatch.setattr(snapshot, "render", render)
    snapshot.build_due()
    assert Snapshot.objects.get().dirty_at is None


def test_mark_made_while_an_unmarked_page_is_built_is_kept(page, monkeypatch):
    snapshot.build(page)
    render = snapshot.render

    def slow(context):
        Snapshot.mark_dirty()
        return render(context)

    monkeypatch.setattr(snapshot, "render", slow)
    snapshot.build(page)

    assert Snapshot.objects.get().dirty_at is not None


def test_slower_builder_does_not_replace_a_newer_page(page, monkeypatch):
    snapshot.build(page)
    render = snapshot.render

    def slow(context):
        body = render(context)
        Snapshot.objects.update(body=b"newer", built_at=timezone.now())
        return body

    monkeypatch.setattr(snapshot, "render", slow)
    served = snapshot.build(page)

    assert bytes(served.body) == b"newer"


def test_page_is_built_though_the_clock_was_put_back(page):
    ahead = timezone.now() + timedelta(hours=1)
    snapshot.build(page)
    Snapshot.objects.update(body=b"old", built_at=ahead)
    Snapshot.mark_dirty()

    snapshot.build_due()

    assert bytes(Snapshot.objects.get().body) != b"old"


def test_page_that_cannot_be_built_stops_no_other(page, monkeypatch, caplog):
    other = StatusPage.objects.create(title="Other", slug="other")
    Snapshot.objects.create(page=other)
    render = snapshot.render

    def partial(context):
        if context["page"].is_default:
            raise RuntimeError("broken")
        return render(context)

    monkeypatch.setattr(snapshot, "render", partial)
    snapshot.build_due()

    assert Snapshot.objects.get(page=other).built_at
    assert "could not be built" in caplog.text


def test_etag_follows_the_content(page):
    first = snapshot.build(page)
    page.title = "Another"
    page.save()

    assert snapshot.build(page).etag != first.etag


def test_page_says_in_words_what_is_down(show, make_monitor, stand):
    stand(make_monitor("checkout", name="Checkout API"), "down")
    stand(make_monitor("web", name="Website"), "up")

    html = show()

    assert "<h1>Checkout API is down</h1>" in html
    assert "<title>Checkout API is down · Example status</title>" in html
    assert 'bell-down.svg"' in html


def test_page_shows_the_overlay_over_what_was_checked(show, make_monitor, stand):
    monitor = make_monitor("web", name="Website")
    stand(monitor, "up")
    Overlay.objects.create(
        monitor=monitor,
        kind="maintenance",
        status="maintenance",
        started_at=timezone.now() - timedelta(minutes=5),
        cause="maintenance:1",
    )

    assert "Website is under maintenance" in show()


def test_page_shows_paused_monitors_without_green(show, make_monitor, stand):
    monitor = make_monitor("web", name="Website")
    stand(monitor, "up")
    monitor.pause(at=timezone.now())

    html = show()

    assert "Website is paused" in html
    assert '<li data-state="no_data">' in html


def test_page_shows_a_dash_where_uptime_is_unknown(show, make_monitor):
    make_monitor("web")

    html = show()

    assert "Uptime unknown" in html
    assert "We cannot see Web" in html


def test_page_shows_uptime_rounded_down(show, make_monitor, stand):
    monitor = make_monitor("web")
    stand(monitor, "up", lasting=timedelta(days=80))
    stand(monitor, "down", lasting=timedelta(minutes=1))
    stand(monitor, "up", lasting=timedelta(0))

    html = show()

    assert "99.99%" in html
    assert "down 1 min" in html


def test_page_shows_updates_of_open_incidents_newest_first(
    show, make_monitor, make_incident
):
    incident = make_incident(make_monitor("web"), body="We **look**.")
    incident.update(state="IDENTIFIED", body="A full disk.", at=timezone.now())

    html = show()

    assert "<strong>look</strong>" in html
    assert html.index("A full disk.") < html.index("<strong>look</strong>")
    assert f'href="{incident.path}"' in html


def test_page_shows_the_newest_of_many_updates_and_leads_to_all(show, make_incident):
    incident = make_incident(body="Said 0.")
    for n in range(1, 9):
        incident.update(state="MONITORING", body=f"Said {n}.", at=timezone.now())

    html = show()

    assert [n for n in range(9) if f"Said {n}." in html] == [4, 5, 6, 7, 8]
    assert f'<a href="{incident.path}">All nine updates' in html


def test_heading_of_an_update_is_below_those_of_the_page(show, make_incident):
    incident = make_incident(body="# Why\n\n##### Because")
    written_now = show()
    # As it was rendered when headings stayed what they were.
    incident.updates.update(html="<h1>Why</h1>\n<h5>Because</h5>")

    for html in (written_now, show()):
        assert "<h5>Why</h5>\n<h6>Because</h6>" in html


def test_page_lists_past_incidents_by_day(show, make_monitor, make_incident, resolve):
    monitor = make_monitor("web")
    resolve(make_incident(monitor, title="Over", back=60), back=22)
    resolve(make_incident(monitor, title="Long ago", back=60 * 24 * 30), back=30000)

    html = show()

    assert "Resolved after 38 min" in html
    assert "It is over." in html
    assert "Long ago" not in html
    assert "No incidents" in html


def test_page_is_silent_about_deleted_and_unpublished(show, make_incident):
    make_incident(title="Deleted one").delete_by_hand(at=timezone.now())
    draft = make_incident(title="Draft")
    type(draft).objects.filter(pk=draft.pk).update(published_at=None)

    html = show()

    assert "Deleted one" not in html
    assert "Draft" not in html


def test_page_of_some_monitors_is_silent_about_others(
    page, show, make_monitor, make_incident
):
    shown, hidden = make_monitor("shown"), make_monitor("hidden", name="Secret")
    page.shows_all = False
    page.save()
    ShownMonitor.objects.create(page=page, monitor=shown, label="Front door")
    make_incident(hidden, title="Hidden trouble")
    make_incident(shown, hidden, title="Shared trouble")

    html = show()

    assert "Front door" in html
    assert "Shared trouble" in html
    assert "Hidden trouble" not in html
    assert "Secret" not in html


def test_page_is_in_its_own_zone(page, show, make_incident, time_machine):
    time_machine.move_to("2026-11-21T14:32:00Z", tick=True)
    page.timezone = "Asia/Tokyo"
    page.save()
    make_incident()

    html = show()

    assert "As of" in html
    assert "23:32 JST, Saturday 21 November" in html
    assert ">23:02</time>" in html
    assert "Times are in Asia/Tokyo (UTC+9)" in html


def test_page_escapes_what_others_wrote(page, show, make_monitor, make_incident, stand):
    nasty = "<script>alert('x')</script>\"'&"
    page.title, page.description = nasty[:90], nasty
    page.save()
    monitor = make_monitor("web", name=nasty)
    stand(monitor, "down")
    ShownMonitor.objects.create(page=page, monitor=monitor, section=nasty)
    make_incident(monitor, title=nasty, body=f"{nasty} [x](javascript:alert(1))")

    html = show()

    assert "<script>alert" not in html
    assert "javascript:" not in html
    assert html.count("<script") == 1


def test_page_has_nothing_inline_that_runs(show, make_monitor):
    make_monitor("web")

    html = show()

    assert " onclick" not in html
    assert " style=" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_page_of_many_monitors_stays_small(page, show, make_monitor, stand):
    for n in range(30):
        stand(make_monitor(f"m{n}"), "up", lasting=timedelta(days=80))

    assert len(show()) < 50_000


@pytest.mark.django_db
def test_some_page_is_always_at_the_root(client):
    page = StatusPage.default()
    page.is_default = False

    with pytest.raises(ValidationError, match="Some page has to be shown"):
        page.full_clean()
    page.save()

    assert StatusPage.default() == page
    assert client.get("/").status_code == 200


def test_page_that_takes_long_to_build_is_built_less_often(page, monkeypatch):
    monkeypatch.setattr(snapshot, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(snapshot, "MOST_OF_THE_TIME", 1e-6)
    monkeypatch.setattr(snapshot, "_rests_until", {})
    snapshot.build_due()
    before = Snapshot.objects.get().built_at
    Snapshot.mark_dirty()

    snapshot.build_due()
    assert Snapshot.objects.get().built_at == before

    snapshot._rests_until.clear()
    snapshot.build_due()
    assert Snapshot.objects.get().built_at > before
