"""Titles stand on one line, and hold nothing that cannot be seen."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from incidents import titles
from incidents.models import Incident


def test_title_is_one_line():
    assert titles.one_line(" a\r\n\tb\u2028c  d\x85e ") == "a b c d e"


@pytest.mark.parametrize("title", ["Störung", "عطل", "🔥 Slow", "a\nb", "a\u200db"])
def test_what_people_write_is_a_title(title):
    titles.check(title)


@pytest.mark.parametrize("odd", ["\x00", "\x1b", "\x7f", "\u202e", "\u2067", "\ud800"])
def test_what_nobody_sees_is_refused(odd):
    with pytest.raises(ValidationError, match="cannot be seen"):
        titles.check(f"abc{odd}def")


@pytest.mark.parametrize("odd", ["\x1b", "\u202e"])
def test_title_of_an_incident_is_judged_too(api, odd):
    told = {"summary": "We look.", "started_at": timezone.now().isoformat()}

    refused = api.post("/api/v1/incidents/", {**told, "title": f"Slow{odd}"})

    assert refused.status_code == 400
    assert "title" in refused.json()["errors"]
    assert not Incident.objects.exists()
