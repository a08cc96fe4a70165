import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

import tocsin
from access.models import ApiKey
from config.settings import BASE_DIR
from incidents.models import Incident
from monitors.models import Overlay
from subscriptions.models import FanOut

# The server answers on a thread of its own, which sees only what was committed.
pytestmark = pytest.mark.django_db(transaction=True)

BEGAN = "2026-03-01T10:00:00Z"


@pytest.fixture
def manage(db):
    """Run `manage.py incident …`; return code, output and complaints."""

    def run(*arguments):
        out, err, code = StringIO(), StringIO(), 0
        try:
            call_command("incident", *arguments, stdout=out, stderr=err)
        except SystemExit as ended:
            code = ended.code
        return code, out.getvalue(), err.getvalue()

    return run


@pytest.fixture
def over_api(live_server):
    """Run `tocsin.py incident …` against a real server."""
    key = ApiKey(name="tests").issue()

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-I", str(BASE_DIR / "tocsin.py"), "incident", *arguments],
            env={"TOCSIN_URL": live_server.url, "TOCSIN_KEY": key, "HOME": "/nowhere"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(params=["manage", "over_api"])
def incident(request):
    """Either way to the same."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def some_incident(db):
    def make(**more):
        now = timezone.now()
        more = {"title": "Slow", "summary": "It is slow.", "source": "API", **more}
        return Incident.open(**{"started_at": now, **more}, at=now)

    return make


# Both ways, and the API


def by_command(run):
    code, out, _ = run(
        *("open", "Payments fail", "--message", "We are *looking*."),
        *("--severity", "major", "--affects", "shop:partial", "--affects", "bank"),
        *("--started-at", BEGAN),
    )
    number = out.split()[0]
    codes = [
        code,
        run("update", number, "--message", "Still.")[0],
        run("update", number, "--state", "identified", "--message", "A disk.")[0],
        run("resolve", number, "--message", "A new disk.")[0],
    ]
    assert codes == [0, 0, 0, 0]


def by_api(client):
    monitors = [{"tag": "shop", "impact": "PARTIAL"}, {"tag": "bank", "impact": "DOWN"}]
    opened = client.post(
        "/api/v1/incidents/",
        {
            "title": "Payments fail",
            "summary": "We are *looking*.",
            "severity": "major",
            "started_at": BEGAN,
            "monitors": monitors,
        },
    )
    path = f"/api/v1/incidents/{opened.json()['id']}/updates/"
    for state, body in [
        ("INVESTIGATING", "Still."),
        ("IDENTIFIED", "A disk."),
        ("RESOLVED", "A new disk."),
    ]:
        assert client.post(path, {"state": state, "body": body}).status_code == 201


@pytest.mark.parametrize("way", ["api", "manage", "over_api"])
def test_every_way_leaves_the_same_rows_and_signals(way, request, heard, make_monitor):
    make_monitor("shop")
    make_monitor("bank")
    done = request.getfixturevalue(way)

    by_api(done) if way == "api" else by_command(done)

    found = Incident.objects.get()
    assert (found.title, found.state, found.severity) == (
        "Payments fail",
        "RESOLVED",
        2,
    )
    assert found.started_at.isoformat() == "2026-03-01T10:00:00+00:00"
    assert found.published_at
    assert not found.is_draft
    assert list(found.updates.values_list("state", "body", "html", "author")) == [
        ("RESOLVED", "A new disk.", "<p>A new disk.</p>", None),
        ("IDENTIFIED", "A disk.", "<p>A disk.</p>", None),
        ("INVESTIGATING", "Still.", "<p>Still.</p>", None),
        (
            "INVESTIGATING",
            "We are *looking*.",
            "<p>We are <em>looking</em>.</p>",
            None,
        ),
    ]
    assert found.updates.filter(is_automatic=True).count() == 0
    assert [
        (impact.monitor.tag, impact.level, impact.ended_at == found.ended_at)
        for impact in found.impacts.all()
    ] == [("shop", "PARTIAL", True), ("bank", "DOWN", True)]
    laid = Overlay.objects.order_by("pk").values_list(
        "monitor__tag", "status", "counts"
    )
    assert list(laid) == [("shop", "partial", True), ("bank", "down", True)]
    assert heard == ["published", "updated", "updated", "resolved"]
    told = FanOut.objects.order_by("pk").values_list("event", flat=True)
    assert list(told) == ["published", "updated", "updated", "resolved"]


def test_source_says_whether_a_person_or_a_program_wrote(manage, over_api):
    manage("open", "By hand", "--message", "a")
    over_api("open", "From a script", "--message", "a")

    sources = Incident.objects.order_by("pk").values_list("source", "badge")
    assert list(sources) == [("DASHBOARD", ""), ("API", "API")]


# What is said


def test_open_says_which_and_where(incident):
    code, out, err = incident("open", "Slow", "--message", "It is slow.")

    opened = Incident.objects.get()
    assert (code, err) == (0, "")
    assert (
        out == f"{opened.pk} investigating http://testserver/incidents/{opened.pk}/\n"
    )
    assert timezone.now().timestamp() - opened.started_at.timestamp() < 60


def test_open_answers_as_the_api_does(incident, api):
    _, out, _ = incident("open", "Slow", "--message", "It is slow.", "--json")

    opened = Incident.objects.get()
    assert json.loads(out) == api.get(f"/api/v1/incidents/{opened.pk}/").json()


def test_update_leaves_the_state_as_it_is(incident, some_incident):
    number = some_incident().pk
    incident("update", str(number), "--state", "Monitoring", "--message", "a")

    code, out, _ = incident("update", str(number), "--message", "b")

    assert (code, out) == (
        0,
        f"{number} monitoring http://testserver/incidents/{number}/\n",
    )


def test_resolving_again_tells_nobody_again(incident, some_incident):
    number = str(some_incident().pk)
    incident("resolve", number)

    code, out, _ = incident("resolve", number)

    assert (code, out.split()[:2]) == (0, [number, "resolved"])
    bodies = Incident.objects.get().updates.values_list("body", flat=True)
    assert list(bodies) == ["This is resolved.", "It is slow."]


def test_list_is_a_table_of_what_is_open(incident, some_incident):
    old = some_incident(title="Old")
    old.update(state="RESOLVED", body="Done.", at=timezone.now())
    new = some_incident(title="New", severity=3)
    draft = some_incident(title="Draft")
    Incident.objects.filter(pk=draft.pk).update(published_at=None)

    def rows(*options):
        code, out, _ = incident("list", *options)
        assert code == 0
        return [line.split() for line in out.splitlines()]

    at = f"{timezone.now():%Y-%m-%d}"
    head, first, second = rows()
    assert head == ["ID", "STATE", "SEVERITY", "STARTED", "(UTC)", "TITLE"]
    assert (first[:4], first[5]) == ([str(draft.pk), "draft", "minor", at], "Draft")
    assert second[:3] == [str(new.pk), "investigating", "critical"]
    assert [row[0] for row in rows("--all")[1:]] == [
        str(row.pk) for row in (draft, new, old)
    ]
    assert [row[0] for row in rows("--state", "resolved")[1:]] == [str(old.pk)]


def test_list_says_if_there_is_none_and_if_there_are_more(incident, some_incident):
    assert incident("list") == (0, "No incident is open.\n", "")
    assert incident("list", "--all") == (0, "There is no such incident.\n", "")
    for _ in range(3):
        some_incident()

    _, out, err = incident("list", "--limit", "2")

    assert len(out.splitlines()) == 3
    assert err == "There are more; --limit 4 shows more.\n"


def test_list_answers_as_the_api_does(incident, some_incident, make_monitor, api):
    for _ in range(2):
        some_incident(impacts={make_monitor(f"m{Incident.objects.count()}"): "DOWN"})

    _, out, _ = incident("list", "--json")

    assert json.loads(out) == api.get("/api/v1/incidents/").json()["results"]


# How it ends


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--message", "  "], "--message: This field may not be blank.\n"),
        (
            ["--message", "a", "--affects", "barn"],
            "--affects: There is no monitor barn.\n",
        ),
        (
            ["--message", "a", "--started-at", "yesterday"],
            "--started-at: Datetime has wrong format. Use one of these formats "
            "instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].\n",
        ),
        (
            ["--message", "a", "--started-at", "2999-01-01T00:00Z"],
            "--started-at: This lies in the future.\n",
        ),
    ],
)
def test_what_is_refused_is_said_by_option(incident, given, said):
    assert incident("open", "Slow", *given) == (1, "", said)
    assert not Incident.objects.exists()


def test_title_that_is_too_long_is_refused(incident):
    code, _, err = incident("open", "x" * 256, "--message", "a")

    assert code == 1
    assert err.startswith("TITLE: ")


@pytest.mark.parametrize("action", [["update", "--message", "a"], ["resolve"]])
def test_incident_that_is_not_there(incident, action):
    name, *more = action

    assert incident(name, "77", *more) == (5, "", "There is no incident 77.\n")


def test_deleted_incident_is_not_there(incident, some_incident):
    gone = some_incident()
    gone.delete_by_hand(at=timezone.now())

    assert incident("resolve", str(gone.pk))[0] == 5


def test_discarded_draft_is_a_conflict(incident, some_incident):
    draft = some_incident()
    Incident.objects.filter(pk=draft.pk).update(
        published_at=None, discarded_at=timezone.now()
    )

    ended = incident("update", str(draft.pk), "--message", "a")

    assert ended == (6, "", "This draft was discarded.\n")


def test_message_is_needed_where_nobody_can_type(incident, monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO())

    code, _, err = incident("open", "Slow")

    assert (code, err) == (
        2,
        "Give --message TEXT, or --message - to read it.\n",
    )


def test_hostile_title_does_not_reach_the_terminal(incident, some_incident):
    title = "\x1b]0;owned\x07\x9b31m\u202eevil\r\nfalse\u2028line"
    Incident.objects.filter(pk=some_incident().pk).update(title=title)

    _, out, _ = incident("list")

    assert out.splitlines()[1].endswith(
        r"\x1b]0;owned\x07\x9b31m\u202eevil  false\u2028line"
    )
    assert len(out.splitlines()) == 2
    assert incident("list", "--json")[1].isascii()


# Only on this machine


def test_who_wrote_it_is_kept(manage, operator):
    code, out, _ = manage("open", "Slow", "--message", "a", "--as", "ana")
    manage("resolve", out.split()[0], "--as", "ana")

    assert code == 0
    assert [u.author for u in Incident.objects.get().updates.all()] == [operator] * 2


def test_author_has_to_be_somebody_who_may_log_in(manage, operator):
    operator.is_active = False
    operator.save()

    ended = manage("open", "Slow", "--message", "a", "--as", "ana")

    assert ended == (5, "", "There is no user ana.\n")
    assert not Incident.objects.exists()


def test_state_that_changes_while_it_is_typed_is_kept(
    manage, some_incident, monkeypatch
):
    found = some_incident()

    def typed(chosen, default=""):
        Incident.objects.get().update(state="RESOLVED", body="x", at=timezone.now())
        return "b"

    monkeypatch.setattr(tocsin, "message", typed)

    _, out, _ = manage("update", str(found.pk))

    assert out.split()[1] == "resolved"


def test_wrong_usage_from_a_program_is_an_error(manage):
    with pytest.raises(CommandError, match="whole number"):
        manage("resolve", "seven")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["resolve", "seven"], 2, "give a whole number from 1"),
        (["list"], 3, "The database cannot be used: "),
    ],
)
def test_how_a_real_process_ends(tmp_path: Path, arguments, code, said):
    ours = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    env = {name: value for name, value in os.environ.items() if name not in ours}

    done = subprocess.run(
        [sys.executable, str(BASE_DIR / "manage.py"), "incident", *arguments],
        env={**env, "TOCSIN_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == code
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
