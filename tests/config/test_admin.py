import re
from datetime import timedelta

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from access.models import ApiKey
from alerting.models import Alert, Decision, EvaluationFailure
from alerting.rules import Change, Result
from config import frame
from config.admin import SECTIONS
from incidents.models import Incident
from monitors.models import Label, MonitorState, Overlay, Pulse, Status
from outbox.models import Attempt, Circuit, Message, message
from statuspages import snapshot
from statuspages.models import ShownMonitor, Snapshot, StatusPage
from subscriptions.models import Subscriber

OURS = [
    "access.ApiKey",
    "outbox.Trigger",
    "outbox.Message",
    "monitors.Monitor",
    "alerting.AlertRule",
    "alerting.Alert",
    "alerting.Decision",
    "incidents.Incident",
    "statuspages.StatusPage",
    "subscriptions.Subscriber",
]


def listed(label):
    return reverse(f"admin:{label.lower().replace('.', '_')}_changelist")


@pytest.fixture
def trigger_alert():
    def trigger(rule, monitor, at=None, error="It answered 500"):
        at = at or timezone.now()
        failed = Result(id=1, at=at, status="down", error=error)
        reason = "3 failures in a row"
        return Alert.trigger(rule, monitor, Change("TRIGGERED", failed, at, reason))

    return trigger


@pytest.fixture
def crowd(make_monitor, make_rule, make_trigger, trigger_alert):
    """Make n of everything that lists or the front page show."""

    def make(n):
        now = timezone.now()
        first = Subscriber.objects.count()
        for i in range(first, first + n):
            seen, failing = make_monitor(f"seen-{i}"), make_monitor(f"unseen-{i}")
            MonitorState.objects.update(status=Status.DOWN, checked_at=now)
            hook = make_trigger(name=f"hook {i}", url="http://127.0.0.1:9/")
            rule = make_rule(seen, name=f"rule {i}", triggers=[hook])
            alert = trigger_alert(rule, seen)
            Decision.note(alert, "cooldown", "An incident has just ended.", at=now)
            alert.transitions.get().postpone(RuntimeError("no"), at=now)
            EvaluationFailure.objects.create(
                monitor=failing, error="Bad", failed_at=now, due_at=now
            )
            given_up(f"given-up-{i}", trigger=hook)
            for _ in range(Circuit.MOST_FAILURES):
                Circuit.failed(hook.pk, "503", claim=None, at=now)
            Incident.open(
                title=f"Incident {i}",
                summary="Broken.",
                started_at=now,
                at=now,
                source="DASHBOARD",
                impacts={seen: "DOWN"},
            )
            Subscriber.add(f"reader{i}@example.org", at=now)
            ApiKey(name=f"key {i}").issue()
            page = StatusPage.objects.create(title=f"Page {i}", slug=f"page-{i}")
            ShownMonitor.objects.create(page=page, monitor=seen)

    return make


def given_up(key, **more):
    more.setdefault("destination", "ops@example.org")
    made = message(dedup_key=key, kind="email", renderer="alert", values={}, **more)
    Message.queue([made])
    queued = Message.objects.get(dedup_key=key)
    now = timezone.now()
    queued.failed("550 no such mailbox", at=now, final=True)
    Attempt.objects.create(
        message=queued,
        number=1,
        started_at=now,
        finished_at=now,
        is_success=False,
        answer="550 no such mailbox",
    )
    return Message.objects.get(dedup_key=key)


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def queries(client, path):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_front_page_of_an_empty_tocsin_asks_for_a_monitor(admin):
    shown = text(admin.get("/admin/"))

    assert "Nothing is wrong" in shown
    assert "Nothing is watched yet. Add a monitor, then a rule for it." in shown


def test_front_page_says_when_nothing_is_wrong(admin, make_monitor):
    make_monitor()
    MonitorState.objects.update(status=Status.UP)
    Pulse.note("tick", at=timezone.now())

    shown = text(admin.get("/admin/"))

    assert "Nothing is wrong" in shown
    assert "1 of 1 monitors up" in shown


def test_front_page_counts_and_names_what_is_wrong(
    admin, make_monitor, make_rule, trigger_alert
):
    Pulse.note("tick", at=timezone.now())
    shop, search = make_monitor("shop"), make_monitor("search")
    alert = trigger_alert(make_rule(shop, create_incident=False), shop)
    MonitorState.objects.update(status=Status.DOWN, error="It answered 500")

    response = admin.get("/admin/")
    shown = text(response)

    assert "Two things are wrong" in shown
    assert "One alert has no incident. One monitor fails that no rule watches." in shown
    assert "The rule Down for three checks only notifies." in shown
    assert f"/admin/alerting/alert/{alert.pk}/change/" in response.content.decode()
    assert f"?monitors={search.pk}" in response.content.decode()


@pytest.mark.parametrize("way", ["label", "all"])
def test_front_page_knows_what_is_watched_by_label_or_with_all(
    way, admin, make_monitor, make_rule
):
    Pulse.note("tick", at=timezone.now())
    label = Label.objects.create(name="payments")
    make_monitor("shop").label([label])
    MonitorState.objects.update(status=Status.DOWN)
    rule = make_rule()
    rule.watch([], labels=[label] if way == "label" else [], watches_all=way == "all")

    assert "no rule watches" not in text(admin.get("/admin/"))

    rule.switch_off(at=timezone.now())
    assert "One monitor fails that no rule watches." in text(admin.get("/admin/"))


def test_front_page_does_not_call_a_draft_public(
    admin, make_monitor, make_rule, trigger_alert
):
    Pulse.note("tick", at=timezone.now())
    monitor = make_monitor()
    alert = trigger_alert(make_rule(monitor), monitor)
    Incident.open_for(alert, at=timezone.now(), is_draft=True)

    shown = text(admin.get("/admin/"))

    assert "One incident is a draft." in shown
    assert "is public" not in shown


def test_front_page_leads_to_the_update_of_an_open_incident(admin, make_monitor):
    now = timezone.now()
    incident = Incident.open(
        title="Orders fail",
        summary="We look.",
        started_at=now - timedelta(minutes=51),
        at=now,
        source="DASHBOARD",
        impacts={make_monitor(): "DOWN"},
    )
    Pulse.note("tick", at=now)

    response = admin.get("/admin/")

    assert "One thing is wrong One incident is public." in text(response)
    assert "51 min ago" in text(response)
    wanted = f'href="/admin/incidents/incident/{incident.pk}/change/#update"'
    assert wanted in response.content.decode()


def test_front_page_says_why_an_alert_has_no_incident(
    admin, make_monitor, make_rule, trigger_alert
):
    one, other = make_monitor("one"), make_monitor("other")
    rule = make_rule(one, other)
    failing = trigger_alert(rule, one).transitions.get()
    failing.postpone(RuntimeError("the listener broke"), at=timezone.now())
    Decision.note(
        trigger_alert(rule, other), "x", "It was silenced.", at=timezone.now()
    )

    shown = text(admin.get("/admin/"))

    assert "Announcing it fails: RuntimeError: the listener broke" in shown
    assert "It was silenced." in shown
    assert "nobody could be told so: RuntimeError: the listener broke" in shown


def test_front_page_shows_whose_evaluation_fails(admin, make_monitor):
    EvaluationFailure.objects.create(
        monitor=make_monitor(),
        error="RuleInvalid: no such rule",
        attempts=4,
        failed_at=timezone.now(),
        due_at=timezone.now() + timedelta(seconds=30),
    )

    shown = text(admin.get("/admin/"))

    assert "Its rules could not be evaluated: RuleInvalid: no such rule" in shown
    assert "One monitor cannot be evaluated." in shown


@pytest.mark.parametrize("age", [None, 60])
def test_front_page_notices_that_the_clock_stands_still(admin, make_monitor, age):
    make_monitor()
    if age:
        Pulse.note("tick", at=timezone.now() - timedelta(seconds=age))

    assert "The clock stands still: nothing is checked." in text(admin.get("/admin/"))


@pytest.mark.parametrize(("lease", "is_late"), [(None, True), (-1, True), (20, False)])
def test_front_page_notices_checks_that_are_late(admin, make_monitor, lease, is_late):
    make_monitor()
    now = timezone.now()
    Pulse.note("tick", at=now)
    MonitorState.objects.update(
        due_at=now - timedelta(seconds=30),
        lease_until=lease and now + timedelta(seconds=lease),
    )

    shown = text(admin.get("/admin/"))

    assert ("Checks are late." in shown) is is_late
    assert ("One monitor is checked late" in shown) is is_late


def test_front_page_retries_a_delivery_that_was_given_up(admin):
    failed = given_up("one")

    page = admin.get("/admin/")
    response = admin.post(
        "/admin/outbox/message/",
        {
            "_selected_action": failed.pk,
            "action": "replay",
            "index": 0,
            "next": "/admin/",
        },
    )

    assert "550 no such mailbox" in text(page)
    assert response.headers["Location"] == "/admin/"
    failed.refresh_from_db()
    assert (failed.state, failed.attempts) == ("QUEUED", 0)


def test_front_page_groups_what_was_given_up_by_destination(admin, make_trigger):
    hook = make_trigger(name="Slack ops", url="http://127.0.0.1:9/")
    for n in range(40):
        given_up(f"hook {n}", trigger=hook, destination="")
    given_up("mail", destination="ana@example.org")

    page = admin.get("/admin/")
    html = page.content.decode()

    assert "41 deliveries were given up." in text(page)
    assert html.count("550 no such mailbox") == 2
    assert re.search(r"Slack ops</a><small>.*?>40</a>", html)
    link = re.search(r'href="([^"]*send-again[^"]*trigger__id[^"]*)"', html)[1]
    asked = text(admin.get(link.replace("&amp;", "&")))
    assert "Send 40 messages again?" in asked


def test_what_was_dismissed_is_not_wrong_any_more(admin):
    given_up("mail", destination="ana@example.org")
    html = admin.get("/admin/").content.decode()
    link = re.search(r'href="([^"]*all/dismiss[^"]*)"', html)[1]

    response = admin.post(link.replace("&amp;", "&"), {"next": "/admin/"}, follow=True)

    assert "One message dismissed." in text(response)
    assert "Nothing is wrong" in text(response)


def test_front_page_says_what_waits_for_a_trigger_that_fails(admin, make_trigger):
    hook = make_trigger(name="Slack ops", url="http://127.0.0.1:9/")
    for n in range(3):
        values = {"transition": n}
        Message.queue(
            [
                message(
                    dedup_key=f"waits {n}",
                    kind="webhook",
                    renderer="alert",
                    values=values,
                    trigger=hook,
                )
            ]
        )
    for _ in range(Circuit.MOST_FAILURES):
        Circuit.failed(hook.pk, "503 away", claim=None, at=timezone.now())

    shown = text(admin.get("/admin/"))

    assert "One thing is wrong" in shown
    assert "One trigger does not answer." in shown
    assert "Slack ops Three messages wait for it: it fails." in shown
    assert "503 away" in shown


def test_front_page_notices_messages_that_nobody_sends(admin):
    due = timezone.now() - timedelta(minutes=5)
    made = message(dedup_key="late", kind="email", renderer="x", values={}, due_at=due)
    Message.objects.bulk_create([made])

    assert "Messages are sent late" in text(admin.get("/admin/"))


def test_an_action_goes_back_only_to_our_own_pages(admin):
    failed = given_up("one")

    response = admin.post(
        "/admin/outbox/message/",
        {
            "_selected_action": failed.pk,
            "action": "replay",
            "index": 0,
            "next": "https://example.org/",
        },
    )

    assert response.headers["Location"] == "/admin/outbox/message/"


def test_front_page_needs_as_many_queries_for_one_as_for_thirty(admin, crowd):
    crowd(1)
    few = queries(admin, "/admin/")

    crowd(29)

    assert queries(admin, "/admin/") == few
    assert few <= 40


@pytest.fixture
def reader_of(client, django_user_model):
    """Log in an operator who may look at some models and change none."""

    def reader_of(*names):
        reader = django_user_model.objects.create_user("ed", is_staff=True)
        codenames = [f"view_{name}" for name in names]
        reader.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(reader)
        return client

    return reader_of


SAID = {
    "incident": ["Incident 0", "One incident is public.", "1 incident open"],
    "alert": ["nobody could be told so: RuntimeError: no", "1 alert without incident"],
    "monitor": ["Down, and no rule", "0 of 2 monitors up", "evaluated: Bad"],
    "message": ["550 no such mailbox", "1 delivery given up", "Deliveries last"],
    "trigger": ["One trigger does not answer.", "it fails. Next try"],
    "decision": ["An incident has just ended."],
}


@pytest.mark.parametrize("model", SAID)
def test_front_page_tells_of_what_one_may_look_at_alone(model, crowd, reader_of):
    crowd(1)

    shown = text(reader_of(model).get("/admin/"))

    for about, words in SAID.items():
        for said in words:
            assert (said in shown) is (about == model), said


def test_front_page_of_who_may_look_at_nothing(crowd, reader_of):
    crowd(1)
    Pulse.note("tick", at=timezone.now())

    shown = text(reader_of().get("/admin/"))

    assert "Nothing you may see is wrong" in shown
    assert "Nothing that you may see." in shown
    assert "Open an incident" not in shown
    assert "Update" not in shown


@pytest.mark.parametrize("label", OURS)
def test_list_needs_as_many_queries_for_one_as_for_thirty(admin, crowd, label):
    crowd(1)
    few = queries(admin, listed(label))

    crowd(29)

    assert queries(admin, listed(label)) == few
    assert few <= 20


@pytest.mark.parametrize("label", OURS)
def test_every_page_shows_times_with_their_zone_and_has_no_inline_script(
    admin, crowd, label
):
    crowd(1)
    model = django_admin.site.get_model_admin(
        next(m for m in django_admin.site._registry if m._meta.label == label)
    ).model
    change = listed(label) + f"{model.objects.first().pk}/change/"

    for path in (listed(label), change, "/admin/"):
        html = admin.get(path).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", html)
        assert not re.search(r'\son\w+="', html)
        for words in re.findall(r"<time[^>]*>(\d+ \w+ \d{4}[^<]*)<", html):
            assert words.endswith(" UTC")


@pytest.mark.parametrize("label", OURS)
def test_history_and_add_pages_open(admin, crowd, label):
    crowd(1)
    model = next(m for m in django_admin.site._registry if m._meta.label == label)
    first = model.objects.first().pk

    assert admin.get(listed(label) + f"{first}/history/").status_code == 200
    assert admin.get(listed(label) + "add/").status_code in (200, 403)
    assert admin.get(listed(label) + "?q=shop").status_code == 200


def test_sidebar_has_what_operators_use_and_hides_the_rest(admin):
    html = admin.get("/admin/").content.decode()

    links = re.findall(r'<a href="(/admin/\w+/\w+/)"', html.split("<main")[0])
    assert links == [listed(label) for labels in SECTIONS.values() for label in labels]
    assert "/admin/auth/group/" not in html


def test_head_says_what_the_public_reads(admin, make_monitor):
    StatusPage.default()
    make_monitor("shop", name="Shop")
    MonitorState.objects.update(status=Status.DOWN)

    assert "Public: Shop is down" in text(admin.get("/admin/monitors/monitor/"))


def test_head_of_a_page_that_changes_says_what_it_will_say(operator, make_monitor):
    shop = make_monitor("shop", name="Shop")
    page = StatusPage.default()
    now = timezone.now()
    for title, severity, age in (("Old", 3, 60), ("New", 1, 5)):
        began = now - timedelta(minutes=age)
        Incident.open(
            title=title,
            summary="We look.",
            started_at=began,
            at=began,
            severity=severity,
            source="API",
        )

    def heads():
        """What the admin's head says of the page, and what the page would say."""
        Snapshot.objects.update(dirty_at=now)
        head = frame.look(timezone.now(), operator).public
        built = snapshot.context_of(page, at=timezone.now())["headline"]
        return (head.look, head.title), (built.look, built.title)

    MonitorState.objects.update(status=Status.UP)
    assert len(set(heads())) == 1
    Overlay.objects.create(
        monitor=shop, kind="MAINTENANCE", status="degraded", started_at=now, cause="x"
    )
    Overlay.objects.create(
        monitor=shop, kind="INCIDENT", status="down", started_at=now, cause="y"
    )
    assert len(set(heads())) == 1


def test_who_may_only_look_gets_no_buttons(client, django_user_model, make_monitor):
    looker = django_user_model.objects.create_user("ben", is_staff=True)
    looker.user_permissions.set(
        Permission.objects.filter(codename__in=["view_monitor", "view_incident"])
    )
    client.force_login(looker)
    monitor = make_monitor()

    page = client.get(f"/admin/monitors/monitor/{monitor.pk}/change/")
    client.post(
        "/admin/monitors/monitor/",
        {"_selected_action": monitor.pk, "action": "pause", "index": 0},
    )

    assert "Check now" not in text(page)
    monitor.refresh_from_db()
    assert monitor.is_active


def test_login_page_opens_without_a_user(client, db):
    assert "Log in" in text(client.get("/admin/login/"))


@pytest.mark.parametrize(
    "path",
    [
        "alerting/",
        "password_change/",
        "auth/user/",
        "auth/user/add/",
        "auth/group/add/",
        "django_celery_beat/periodictask/",
        "django_celery_beat/periodictask/add/",
    ],
)
def test_what_django_brings_along_opens_without_inline_scripts(admin, path):
    html = admin.get(f"/admin/{path}").content.decode()

    assert 'id="sections"' in html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
