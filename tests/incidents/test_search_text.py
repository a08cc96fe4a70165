"""The words by which incidents are found: always those that are there to be read."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incidents.merging import merge, split
from incidents.models import Incident, IncidentUpdate, SearchText

from .story import NOW, announce, minutes

pytestmark = pytest.mark.django_db

# Each does one thing to an incident; `n` tells the words of one step from the others.
STEPS = {
    "tell": lambda i, n: i.update(state="IDENTIFIED", body=f"Told {n}", at=minutes(n)),
    "note": lambda i, n: i.note(f"Note {n}", at=minutes(n)),
    "plan": lambda i, n: i.schedule(
        state="MONITORING", body=f"Soon {n}", publish_at=minutes(n)
    ),
    "publish": lambda i, n: [w.publish(at=minutes(n)) for w in waiting(i)],
    "edit": lambda i, n: newest(i).edit(body=f"Edited {n}", at=minutes(n)),
    "take back": lambda i, n: newest(i).take_back(at=minutes(n)),
    "rename": lambda i, n: i.revise(title=f"Name {n}", at=minutes(n)),
    "end": lambda i, n: i.update(state="RESOLVED", body=f"Over {n}", at=minutes(n)),
}


def waiting(incident):
    return IncidentUpdate.every.waiting().filter(incident=incident)


def newest(incident):
    return IncidentUpdate.every.filter(incident=incident).order_by("-pk").first()


def stored():
    return list(SearchText.objects.order_by("pk").values())


def as_rewritten():
    """What would be stored if all were written anew."""
    before = stored()
    SearchText.rewrite(dict(Incident.objects.values_list("pk", "title")))
    after = stored()
    assert len(after) == Incident.objects.count()
    return before, after


@given(steps=st.lists(st.sampled_from(list(STEPS)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_happens_to_an_incident_its_words_are_those_it_has(steps, db):
    incident = Incident.open(
        title="Orders", summary="They fail.", started_at=NOW, at=NOW, source="API"
    )

    for n, step in enumerate(steps):
        STEPS[step](incident, n)

    before, after = as_rewritten()
    assert before == after
    Incident.objects.all().delete()
    assert stored() == []


def test_incidents_that_open_by_themselves_merge_and_part_have_their_words(
    make_alert, make_monitor, set_up
):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    announce(make_alert(shop))
    alone = Incident.objects.get()
    both = Incident.open(
        title="Both",
        summary="All.",
        started_at=NOW,
        at=NOW,
        source="API",
        impacts={shop: "DOWN", bank: "DOWN"},
    )

    split(both, [bank], title="The Bank", summary="It alone.", at=NOW)
    merge(alone, both, at=NOW, body="One Cause.")

    before, after = as_rewritten()
    assert before == after
    assert [text["title"] for text in after] == [
        alone.title.casefold(),
        *("both", "the bank"),
    ]
    assert after[1]["told"] == "\nall.\none cause."


def test_words_are_found_in_any_case_of_any_script(admin, make_incident_of):
    incident = make_incident_of("Störung der Straße", "ЗАКАЗЫ не проходят, İzmir")

    for words in ("STÖRUNG", "straße", "STRASSE", "заказы", "ПРОХОДЯТ", "i̇zmir"):
        assert list(Incident.objects.saying(words)) == [incident], words
    for words in ("%", "_", "\\", "a%e"):
        assert not Incident.objects.saying(words).exists(), words


def test_a_title_and_an_update_do_not_join_to_a_word(make_incident_of):
    make_incident_of("Slow mail", "box is full")

    assert not Incident.objects.saying('"mail box"').exists()
    assert not Incident.objects.saying("mailbox").exists()
    assert Incident.objects.saying('"slow mail" "box is"').exists()


@pytest.mark.django_db(transaction=True)
def test_incidents_of_before_get_their_words(make_incident_of):
    for n in range(3):
        incident = make_incident_of(f"Title {n}", f"First {n}")
        STEPS["tell"](incident, 3)
        STEPS["note"](incident, 4)
        STEPS["plan"](incident, 5)
        newest(incident).take_back(at=minutes(5))
        STEPS["plan"](incident, 6)
    expected = stored()
    SearchText.objects.all().delete()

    import_module("incidents.migrations.0011_search_text").fill(apps, None)

    assert stored() == expected
    assert expected[0]["internal"] == "\nnote 4\nsoon 6"


@pytest.fixture
def make_incident_of():
    def make(title, summary):
        at = NOW - timedelta(hours=1)
        return Incident.open(
            title=title, summary=summary, started_at=at, at=at, source="API"
        )

    return make
