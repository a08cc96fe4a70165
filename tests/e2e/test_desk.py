"""What an operator sees of the admin, in a real browser: all can be read and reached."""

import pytest
from django.utils import timezone

from incidents.models import Incident, UpdateTemplate
from monitors.models import Label, Monitor

pytestmark = [pytest.mark.browser, pytest.mark.looks]

LONG = "payment-gateway-eu-west-1-production-" * 4
# How much brighter one of text and ground is than the other: 4.5 can be read.
CONTRAST = """element => {
    const canvas = document.createElement("canvas").getContext(
        "2d", {willReadFrequently: true});
    const grounds = [];
    for (let e = element; e; e = e.parentElement)
        grounds.unshift(getComputedStyle(e).backgroundColor);
    const bright = (...colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of ["#fff", ...colours]) {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
        }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => {
            v /= 255;
            return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const ground = bright(...grounds);
    const text = bright(...grounds, getComputedStyle(element).color);
    return Math.max(ground, text) / Math.min(ground, text);
}"""


@pytest.fixture
def shop(make_monitor):
    return make_monitor("shop", name=LONG)


@pytest.fixture
def incident(shop):
    return open_incident(shop)


def open_incident(*monitors, title="Orders fail", summary="We look.", **more):
    at = timezone.now()
    return Incident.open(
        title=title,
        summary=summary,
        started_at=at,
        at=at,
        source="DASHBOARD",
        impacts=dict.fromkeys(monitors, "DOWN"),
        **more,
    )


def workspace(incident):
    return f"incidents/incident/{incident.pk}/change/"


def is_within(tab, element):
    box = element.bounding_box()
    return box["x"] >= 0 and box["x"] + box["width"] <= tab.viewport_size["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_headings_of_folded_sections_can_be_read(scheme, at_desk):
    tab = at_desk("incidents/incident/add/", color_scheme=scheme)

    for heading in tab.locator(".collapse summary > *").all():
        assert heading.evaluate(CONTRAST) > 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_of_further_pages_can_be_read(scheme, at_desk, db):
    Label.objects.bulk_create([Label(name=f"label-{n}") for n in range(101)])

    tab = at_desk("monitors/label/?p=2", color_scheme=scheme)

    numbers = tab.locator(".paginator a").all()
    said = [number.inner_text() for number in numbers]
    assert said == ["1", "3", "Show all"]
    assert min(number.evaluate(CONTRAST) for number in numbers) > 4.5


def test_composer_can_be_used_on_a_phone_whatever_the_names(at_desk, incident):
    UpdateTemplate.objects.create(name=LONG[:100], body="Still looking.")

    tab = at_desk(workspace(incident), width=390)

    for control in tab.locator(".compose :is(button, select, textarea, input)").all():
        if control.is_visible():
            assert is_within(tab, control)


@pytest.mark.parametrize("width", [1280, 390])
def test_panels_beside_show_all_of_long_words(width, at_desk, incident):
    other = open_incident(title=LONG)
    incident.relations.create(other=other, kind="RELATED")

    tab = at_desk(workspace(incident), width=width)

    for name in ("Links", "Impact"):
        panel = tab.get_by_role("region", name=name)
        button = panel.locator("button.wordlike")
        inner = panel.bounding_box()
        outer = button.bounding_box()
        assert outer["x"] + outer["width"] <= inner["x"] + inner["width"]


def test_wide_table_of_an_update_scrolls_by_itself_and_by_keyboard(at_desk, shop):
    columns = range(14)
    table = "\n".join(
        "|".join(cells)
        for cells in (
            [f"Region{n}" for n in columns],
            ["--" for _ in columns],
            [f"degraded{n}" for n in columns],
        )
    )

    tab = at_desk(workspace(open_incident(shop, summary=table)), width=390)

    shown = tab.locator(".line .prose table")
    assert is_within(tab, shown)
    assert shown.evaluate("e => e.scrollWidth > e.clientWidth")
    shown.focus()
    assert shown.evaluate("e => document.activeElement === e")


def test_written_lines_of_an_update_are_broken(at_desk, shop):
    code = f"```\n{'kubectl rollout undo ' * 12}\n```"

    tab = at_desk(workspace(open_incident(shop, summary=code)), width=390)

    written = tab.locator(".line .prose pre")
    assert written.evaluate("e => e.scrollWidth <= e.clientWidth")


@pytest.mark.parametrize("width", [1280, 390])
def test_long_title_stands_beside_its_buttons(width, at_desk):
    title = "Payments are slow in every region " * 4
    monitor = Monitor(name=title, tag="slow", config={"url": "http://127.0.0.1:9/"})
    monitor.save()

    tab = at_desk(f"monitors/monitor/{monitor.pk}/change/", width=width)

    head = tab.get_by_role("heading", level=1).bounding_box()
    for button in tab.locator(".object-tools :is(a, button)").all():
        box = button.bounding_box()
        is_right = box["x"] >= head["x"] + head["width"]
        assert is_right or box["y"] >= head["y"] + head["height"]
        assert is_within(tab, button)


@pytest.mark.parametrize("path", ["monitors/label/", "monitors/monitor/"])
def test_list_without_entries_offers_the_first(path, at_desk):
    tab = at_desk(path)

    tab.get_by_text("Nothing here yet.").wait_for()
    tab.locator("#changelist").get_by_role("link", name="Add ").click()
    tab.get_by_role("heading", name="Add ").wait_for()


def test_list_that_a_filter_empties_leads_back_to_all(at_desk, shop):
    tab = at_desk("monitors/monitor/?kind=tcp&q=nowhere")

    tab.get_by_text("Nothing fits these filters.").wait_for()
    tab.get_by_role("link", name="Show all").click()
    tab.get_by_role("rowheader", name=shop.name).wait_for()


def test_filter_says_in_a_word_that_there_is_nothing(at_desk, shop):
    for name in ("money", "shop"):
        shop.labels.add(Label.objects.create(name=name))

    tab = at_desk("monitors/monitor/")

    filters = tab.get_by_role("navigation", name="Filter")
    assert filters.get_by_role("link", name="None", exact=True).is_visible()
    assert filters.get_by_role("link", name="-", exact=True).count() == 0


def test_search_of_a_list_has_a_name(at_desk):
    tab = at_desk("monitors/monitor/")

    assert tab.get_by_role("searchbox", name="Search").is_visible()


def test_what_cannot_be_undone_looks_otherwise(at_desk, shop):
    draft = open_incident(shop, is_draft=True)

    tab = at_desk(workspace(draft))

    colours = [
        tab.get_by_role("button", name=name, exact=True).evaluate(
            "e => getComputedStyle(e).color"
        )
        for name in ("Discard", "Publish")
    ]
    assert colours[0] != colours[1]


def test_outcome_of_a_press_is_announced(at_desk, shop):
    tab = at_desk("monitors/monitor/")

    tab.get_by_role("checkbox", name="Select this object").check()
    tab.get_by_label("Action:").select_option("pause")
    tab.get_by_role("button", name="Go", exact=True).click()

    assert "paused" in tab.get_by_role("status").inner_text()
