import re

import pytest
from django.core.exceptions import ValidationError

from incidents.models import Automation, badges

PAGE = "/admin/incidents/automation/1/change/"


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def filled(**more):
    return {
        "gathers_storms": "on",
        "storm_percent": 20,
        "storm_at_least": 10,
        "storm_publish_after": 300,
        "monthly_quota": "",
        "breaker_a_day": 10,
        "reopen_seconds": 0,
        "cooldown_seconds": 900,
        "draft_mode": "OFF",
        "auto_publish_after": "",
        "auto_publish_min_severity": "",
        "auto_discard": "on",
        "group_wait": 30,
        "group_interval": 300,
        "critical_bypasses": "on",
        **more,
    }


def test_settings_nobody_has_made_are_the_defaults(db):
    settings = Automation.current()

    assert not Automation.objects.exists()
    assert (settings.storm_percent, settings.storm_at_least) == (20, 10)
    assert (settings.cooldown_seconds, settings.breaker_a_day) == (0, 10)
    assert (settings.group_wait, settings.group_interval) == (30, 300)
    assert settings.draft_mode == "OFF"
    assert list(settings.told()) == []


def test_there_is_one_page_and_nothing_to_add_or_delete(admin):
    page = admin.get("/admin/incidents/automation/")
    assert page.headers["Location"] == PAGE

    shown = text(admin.get(PAGE))
    assert "Many failures at once" in shown
    assert "Add another" not in shown
    assert admin.get("/admin/incidents/automation/add/").status_code == 403
    assert admin.get(PAGE.replace("change", "delete")).status_code == 403


def test_page_keeps_what_is_filled_in(admin, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    admin.get("/admin/incidents/automation/")

    response = admin.post(
        PAGE,
        filled(
            draft_mode="BY_SOURCE",
            draft_sources=["Uptime"],
            severity_of_uptime="2",
            tell=[trigger.pk],
        ),
    )

    assert response.headers["Location"] == PAGE
    settings = Automation.current()
    assert settings.cooldown_seconds == 900
    assert settings.draft_sources == ["Uptime"]
    assert settings.source_severities == {"Uptime": 2}
    assert list(settings.told()) == [trigger]
    assert Automation.objects.count() == 1
    assert 'value="2" selected' in admin.get(PAGE).content.decode()


def test_page_asks_for_a_source_where_drafts_are_by_source(admin):
    admin.get("/admin/incidents/automation/")

    assert "Choose at least one." in text(
        admin.post(PAGE, filled(draft_mode="BY_SOURCE"))
    )


def test_saving_never_makes_a_second_row(db):
    Automation(cooldown_seconds=1).save()
    Automation(cooldown_seconds=2).save()

    assert Automation.objects.get().cooldown_seconds == 2


def test_sources_are_those_of_the_checkers():
    assert "Uptime" in badges()


def test_drafts_by_source_need_a_source():
    with pytest.raises(ValidationError, match="Choose at least one"):
        Automation(draft_mode="BY_SOURCE").clean()


def test_list_of_incidents_leads_to_the_settings(admin):
    shown = admin.get("/admin/incidents/incident/").content.decode()

    assert 'href="/admin/incidents/automation/"' in shown
