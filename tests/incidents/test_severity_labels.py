import json
import re

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from incidents import telling
from incidents.exporting import as_json, as_markdown, as_pdf
from incidents.models import Incident, SeverityLabels, UpdateTemplate, severity_labels
from monitors.models.severity import severity_choices, severity_name
from statuspages import snapshot
from statuspages.models import Snapshot, StatusPage
from statuspages.tasks import build_pages

from .story import NOW
from .test_printing import words

SETTINGS = "/admin/incidents/severitylabels/1/change/"
HOSTILE = "<script>*Sev 1*</script>"


@pytest.fixture(autouse=True)
def forget(db):
    severity_labels.forget()
    yield
    severity_labels.forget()


@pytest.fixture
def call():
    """Call severities by other names."""

    def call(**labels):
        labels = {"minor": "Low", "major": "High", "critical": "Urgent", **labels}
        SeverityLabels(**labels).save()

    return call


def make(severity=3, title="Orders fail", **more):
    facts = {"summary": "We look.", "started_at": NOW, "at": NOW, "source": "API"}
    return Incident.open(title=title, severity=severity, **facts | more)


def test_they_are_called_as_ever_until_somebody_says_otherwise():
    assert not SeverityLabels.objects.exists()
    assert severity_choices() == [(1, "Minor"), (2, "Major"), (3, "Critical")]


@pytest.mark.parametrize(
    "path",
    [
        "/admin/incidents/incident/",
        "/admin/incidents/incident/?severity=3",
        "/admin/incidents/incident/add/",
        "/admin/incidents/incident/{}/change/",
        "/admin/incidents/automation/1/change/",
        "/admin/monitors/monitor/add/?kind=http",
        "/admin/alerting/alertrule/add/",
        "/admin/",
        "/",
        "/incidents/{}/",
        SETTINGS,
    ],
)
def test_every_page_that_shows_a_severity_shows_its_name(path, admin, call):
    incident = make()
    call(critical=HOSTILE)

    page = admin.get(path.format(incident.pk)).content.decode()

    assert escape(HOSTILE) in page
    assert HOSTILE not in page
    assert not re.search(r'="3"[^>]*>Critical|>Critical</(dd|span|a|td)>', page)


def test_documents_have_the_names(call):
    incident = make()
    call(critical=HOSTILE)

    assert r"**Severity:** &lt;script>\*Sev 1\*&lt;/script>" in as_markdown(incident)
    assert f"Severity {HOSTILE} Source" in words(as_pdf(incident))


def test_templates_of_updates_fill_in_the_name(call):
    call(critical="*Sev* 1")
    template = UpdateTemplate(name="x", body="It is {{incident.severity}}.")

    assert template.body_for(make()) == r"It is \*Sev\* 1."


def test_timeline_says_it_in_names_and_tells_programs_what_never_changes(call):
    call()
    incident = make(severity=1)

    incident.revise(severity=3, at=timezone.now())

    change = incident.timeline.get(kind="SEVERITY")
    assert change.text == "Severity: Low \u2192 Urgent"
    assert change.facts == {"from": "Minor", "to": "Critical"}
    assert incident.timeline.get(kind="OPENED").facts["severity"] == "Minor"


def test_programs_keep_their_words(api, call):
    call()
    incident = make()

    answer = api.get(f"/api/v1/incidents/{incident.pk}/")
    opened = {"title": "x", "summary": "x", "severity": "major"}
    opened["started_at"] = timezone.now().isoformat()

    assert answer.json()["severity"] == "critical"
    assert json.loads(as_json(incident))["severity"] == "critical"
    assert api.post("/api/v1/incidents/", opened).json()["severity"] == "major"
    refused = api.post("/api/v1/incidents/", {**opened, "severity": "High"})
    assert refused.status_code == 400
    note = telling._values("draft", "x", [], incident)
    assert note["incident"]["severity"] == "critical"


def test_names_are_set_in_the_admin(admin):
    listed = admin.get("/admin/incidents/severitylabels/")
    named = {"minor": "P3", "major": " P2 ", "critical": "P1"}
    saved = admin.post(SETTINGS, named)

    assert listed.headers["Location"] == SETTINGS
    assert saved.status_code == 302
    assert severity_choices() == [(1, "P3"), (2, "P2"), (3, "P1")]
    assert admin.get("/admin/incidents/severitylabels/add/").status_code == 403


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"minor": ""}, "This field is required."),
        ({"minor": "  "}, "This field is required."),
        ({"minor": "\u200b"}, "Write a name that can be seen."),
        ({"minor": "Major"}, "This is what minor is called already."),
        ({"critical": "mAJOR "}, "This is what major is called already."),
        ({"minor": "x" * 31}, "Ensure this value has at most 30 characters"),
    ],
)
def test_names_that_tell_nothing_apart_are_refused(admin, labels, said):
    usual = {"minor": "Minor", "major": "Major", "critical": "Critical"}

    answer = admin.post(SETTINGS, usual | labels)

    assert said in answer.content.decode()
    assert not SeverityLabels.objects.exists()


@pytest.mark.parametrize("label", ["", " ", "Major"])
def test_the_model_refuses_them_too(label):
    with pytest.raises(ValidationError) as refused:
        SeverityLabels(minor=label).full_clean()

    assert len(refused.value.messages) == 1


def test_the_list_is_filtered_by_severity(admin):
    make(severity=3, title="Great trouble")
    make(severity=1, title="Small trouble")

    def listed(asked):
        page = admin.get(f"/admin/incidents/incident/?severity={asked}")
        text = page.content.decode()
        return [f">{name} trouble</a></th>" in text for name in ("Great", "Small")]

    assert listed("3") == [True, False]
    assert listed("1") == [False, True]
    assert listed("x") == [True, True]


def test_names_are_looked_up_once_for_one_incident_as_for_thirty(admin, call):
    call()

    def asked():
        with CaptureQueriesContext(connection) as made:
            page = admin.get("/admin/incidents/incident/").content.decode()
        assert "Urgent" in page
        looked_up = [q for q in made if "severitylabels" in q["sql"]]
        return len(made), len(looked_up)

    make()
    few = asked()
    for n in range(29):
        make(title=f"No {n}")

    assert asked() == few
    assert few[1] == 1


def test_a_page_is_built_anew_when_the_names_change(call, client):
    make()
    snapshot.build(StatusPage.default())
    assert b">Critical<" in client.get("/").content

    call(critical="Everything burns")

    assert Snapshot.objects.get().dirty_at
    build_pages()
    page = client.get("/").content.decode()
    assert ">Everything burns<" in page
    assert ">Critical<" not in page


def test_each_request_and_each_task_looks_anew(admin, call):
    call()
    assert severity_name(3) == "Urgent"
    changed = SeverityLabels.objects.all()
    changed.update(critical="Elsewhere")  # as by another process
    assert severity_name(3) == "Urgent"

    admin.get("/admin/login/")
    assert severity_name(3) == "Elsewhere"

    changed.update(critical="Once more")
    build_pages.apply()
    assert severity_name(3) == "Once more"
