import re

from statuspages.models import Snapshot, StatusPage

PAGE = {
    "title": "Status",
    "slug": "status",
    "timezone": "Europe/Berlin",
    "is_default": "on",
    "shown-INITIAL_FORMS": 0,
}


def test_a_page_is_made_with_its_monitors(admin, make_monitor):
    shop = make_monitor("shop")

    admin.post(
        "/admin/statuspages/statuspage/add/",
        PAGE
        | {
            "shown-TOTAL_FORMS": 1,
            "shown-0-monitor": shop.pk,
            "shown-0-section": "Shop",
            "shown-0-label": "Our shop",
            "shown-0-position": 0,
        },
    )

    page = StatusPage.objects.get()
    assert page.timezone == "Europe/Berlin"
    assert [(s, [m.name for m in ms]) for s, ms in page.rows()] == [
        ("Shop", ["Our shop"])
    ]


def test_a_saved_page_is_built_anew(admin):
    page = StatusPage.default()
    Snapshot.objects.update_or_create(page=page, defaults={"dirty_at": None})

    admin.post(
        f"/admin/statuspages/statuspage/{page.pk}/change/",
        PAGE | {"shown-TOTAL_FORMS": 0},
    )

    assert Snapshot.objects.get().dirty_at is not None


def test_only_one_page_is_the_default(admin):
    StatusPage.default()

    page = admin.post(
        "/admin/statuspages/statuspage/add/",
        PAGE | {"slug": "other", "shown-TOTAL_FORMS": 0},
    )

    assert "Another page is the default one already." in page.content.decode()


def test_an_unknown_zone_is_refused(admin):
    page = admin.post(
        "/admin/statuspages/statuspage/add/",
        PAGE | {"timezone": "Mars/Olympus", "shown-TOTAL_FORMS": 0},
    )

    assert "Select a valid choice" in page.content.decode()
    assert not StatusPage.objects.exists()


def test_fields_of_rows_say_what_they_are(admin, make_monitor):
    page = StatusPage.default()
    page.shown.create(monitor=make_monitor())

    html = admin.get(f"/admin/statuspages/statuspage/{page.pk}/change/").content

    rows = html.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    for field in re.findall(r"<(?:select|input)\b[^>]*>", rows):
        assert "aria-label=" in field or 'type="hidden"' in field
