"""What a visitor does, in a real browser against the real server."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import Incident, State
from monitors import vitals
from monitors.models import EngineMinute
from monitors.sketches import Sketch
from statuspages import snapshot
from subscriptions.models import Subscriber

pytestmark = pytest.mark.browser


@pytest.fixture
def outage(clockwork, make_monitor):
    """An open incident on a page with long words."""
    monitors = [
        make_monitor("shop", name="Web Shop"),
        make_monitor("long", name="Donaudampfschifffahrtsgesellschaftskapitänsamt"),
    ]
    now = timezone.now()
    return Incident.open(
        title="Some orders fail at checkout",
        summary="| Setting | Value |\n| :-- | :-- |\n| Host | "
        + "very-long-host-name-" * 6
        + " |\n\n`"
        + "unbroken" * 20
        + "`",
        started_at=now,
        at=now,
        source="DASHBOARD",
        impacts=dict.fromkeys(monitors, "DOWN"),
    )


def links(text):
    return re.findall(r"http://\S+", text)


def test_visitor_subscribes_hears_of_an_incident_and_leaves(
    clockwork, mailbox, make_monitor, visit
):
    shop = make_monitor("shop", name="Web Shop")
    clockwork.settle()

    # Subscribe on the status page.
    tab = visit("/")
    tab.get_by_label("E-mail address").fill("reader@example.org")
    tab.locator("form").get_by_role("button", name="Subscribe").click()
    tab.get_by_role("heading", name="Look into your inbox").wait_for()

    # Confirm from the mail: one press.
    clockwork.settle()
    asked = mailbox.mails.pop()
    assert asked.to == ["reader@example.org"]
    tab.goto(next(link for link in links(asked.text) if "confirm" in link))
    tab.get_by_role("button", name="Confirm my subscription").click()
    tab.get_by_role("heading", name="You are subscribed").wait_for()

    # Something happens: a mail comes, and leads to the incident.
    now = timezone.now()
    Incident.open(
        title="Some orders fail",
        summary="We are **looking**.",
        started_at=now,
        at=now,
        source="DASHBOARD",
        impacts={shop: "DOWN"},
    )
    clockwork.settle()
    news = mailbox.mails.pop()
    assert news.subject == "Investigating: Some orders fail"
    tab.goto(next(link for link in links(news.text) if "/incidents/" in link))
    tab.get_by_role("heading", name="Some orders fail").wait_for()
    assert tab.locator("strong", has_text="looking").is_visible()

    # The page says it in words, and leads there as well.
    tab.goto("/")
    tab.get_by_role("heading", name="Web Shop is down", level=1).wait_for()
    tab.get_by_role("link", name="Some orders fail", exact=True).click()
    tab.get_by_role("heading", name="Impact").wait_for()

    # Leave: one press, and nothing more comes.
    tab.goto(next(link for link in links(news.text) if "unsubscribe" in link))
    tab.get_by_role("button", name="Unsubscribe").click()
    tab.get_by_role("heading", name="You are unsubscribed").wait_for()
    Incident.objects.get().update(state=State.RESOLVED, body="Over.", at=timezone.now())
    clockwork.settle()
    assert mailbox.mails == []
    assert Subscriber.objects.get().state == Subscriber.State.UNSUBSCRIBED

    # And back again.
    tab.get_by_role("button", name="Subscribe again").click()
    tab.get_by_role("heading", name="You are subscribed").wait_for()


@pytest.mark.looks
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_on_a_phone(scheme, outage, visit):
    reader = Subscriber.add("reader@example.org", at=timezone.now())
    snapshot.build_due()
    tab = visit("/", width=320, color_scheme=scheme)

    for path in (
        "/",
        outage.path,
        "/history/",
        "/subscribe/",
        f"/subscribe/confirm/{reader.token}/",
        f"/unsubscribe/{reader.token}/",
    ):
        tab.goto(path)
        widest = tab.evaluate("document.documentElement.scrollWidth")
        assert (path, widest) == (path, 320)


def test_words_follow_their_title_beside_many_facts(clockwork, make_monitor, visit):
    now = timezone.now()
    Incident.open(
        title="Orders fail",
        summary="We look.",
        started_at=now,
        at=now,
        source="DASHBOARD",
        impacts=dict.fromkeys((make_monitor(f"m{n}") for n in range(9)), "DOWN"),
    )
    snapshot.build_due()

    tab = visit("/")

    title = tab.get_by_role("heading", name="Orders fail").bounding_box()
    steps = tab.get_by_role("list", name="Progress of the incident").bounding_box()
    assert steps["y"] - (title["y"] + title["height"]) < 40


@pytest.mark.parametrize("selector", ["h1", ".prose p"])
def test_sentence_from_the_right_ends_on_the_left(selector, clockwork, visit):
    now = timezone.now()
    sentence = "الدفع لا يعمل."
    incident = Incident.open(
        title=sentence, summary=sentence, started_at=now, at=now, source="DASHBOARD"
    )

    tab = visit(incident.path)

    first, last = tab.locator(selector).first.evaluate(
        """e => [0, e.textContent.length - 1].map(n => {
            const range = document.createRange();
            range.setStart(e.firstChild, n);
            range.setEnd(e.firstChild, n + 1);
            return range.getBoundingClientRect().left;
        })"""
    )
    assert last < first


def test_pages_work_without_javascript(outage, visit):
    snapshot.build_due()

    tab = visit("/", java_script_enabled=False)
    assert tab.get_by_role("heading", level=1).inner_text() == "All services are down"
    tab.get_by_label("E-mail address").fill("reader@example.org")
    tab.locator("form").get_by_role("button", name="Subscribe").click()
    tab.get_by_role("heading", name="Look into your inbox").wait_for()
    assert Subscriber.objects.get().email == "reader@example.org"


def test_keyboard_reaches_the_content_first(outage, visit):
    snapshot.build_due()
    tab = visit("/")

    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to content"

    tab.keyboard.press("Enter")
    assert tab.url.endswith("#main")


def test_mistyped_address_is_explained_and_kept(outage, visit):
    tab = visit("/subscribe/")
    tab.get_by_label("E-mail address").fill("reader@example")
    tab.get_by_role("button", name="Send me the confirmation").click()

    tab.get_by_text("This is not a whole address").wait_for()
    assert tab.get_by_label("E-mail address").input_value() == "reader@example"


def test_screen_reader_hears_the_bars_as_a_table(outage, visit):
    snapshot.build_due()
    tab = visit("/")

    table = tab.get_by_role("table", name=re.compile("Web Shop, last 90 days"))

    assert "Down" in table.inner_text()


@pytest.mark.looks
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_engine_is_drawn_on_a_phone_without_javascript(scheme, operator, visit):
    end = vitals.whole_until(timezone.now())
    for n in range(1, 180):
        EngineMinute.objects.create(
            worker=f"a-host-with-a-very-long-name-in-a-far-away-place:{n % 2}",
            at=end - timedelta(minutes=n),
            checks=6000,
            lateness=Sketch([2.0, 8.0 * n]).to_bytes(),
            flushes=Sketch([20.0]).to_bytes(),
        )
    tab = visit(
        "/admin/login/?next=/admin/engine/",
        width=320,
        color_scheme=scheme,
        java_script_enabled=False,
    )
    tab.get_by_label("Username").fill("ana")
    tab.get_by_label("Password").fill("pass")
    tab.get_by_role("button", name="Log in").click()

    tab.get_by_role("heading", name="Tocsin keeps up").wait_for()
    drawing = tab.get_by_role("img", name=re.compile("How late checks start"))
    assert drawing.bounding_box()["width"] < 320
    tab.get_by_text("The drawings as a table").click()
    assert tab.get_by_role("table").last.get_by_role("row").count() == 180
    assert tab.evaluate("document.documentElement.scrollWidth") == 320
