"""The story of one outage, from the first failing check to the last mail."""

from datetime import timedelta

import time_machine
from django.utils import timezone

from alerting import announcing, attention
from alerting.models import Alert
from incidents.models import Automation, Incident, Occurrence, State
from incidents.tasks import keep_maintenances
from monitors.models import Correction, Label, Monitor, MonitorState
from subscriptions.models import Subscriber


def test_outage_from_first_failure_to_last_mail(
    clockwork,
    client,
    shop,
    receiver,
    mailbox,
    make_monitor,
    make_rule,
    make_trigger,
):
    # A shop is watched. Three failures in a row matter, two successes end it.
    monitor = make_monitor("shop", shop.url, name="Web Shop")
    make_rule(
        monitor,
        failure_threshold=3,
        success_threshold=2,
        severity="CRITICAL",
        triggers=[
            make_trigger("webhook", url=receiver.url),
            make_trigger("email", to=["ops@example.org"]),
        ],
    )
    # Somebody wants to hear of it, and says so twice.
    Subscriber.ask("Reader@example.org", at=timezone.now())
    clockwork.settle()
    (asked,) = mailbox.mails
    assert asked.to == ["reader@example.org"]
    subscriber = Subscriber.objects.get()
    assert subscriber.confirm_url in asked.text
    client.post(f"/subscribe/confirm/{subscriber.token}/")
    mailbox.mails.clear()

    # All is well, and the page says so.
    clockwork.run_checks()
    clockwork.settle()
    assert b"Web Shop" in client.get("/").content
    assert Monitor.objects.get().state.status == "up"

    # Two failures are not enough.
    shop.break_down()
    clockwork.run_checks()
    clockwork.run_checks()
    clockwork.settle()
    assert not Alert.objects.exists()

    # The third one triggers an alert, which opens an incident by itself.
    clockwork.run_checks()
    clockwork.settle()
    alert, incident = Alert.objects.get(), Incident.objects.get()
    first_failure = monitor.results.filter(status="down").earliest("checked_at")
    third_failure = monitor.results.latest("checked_at")
    assert alert.state == Alert.State.TRIGGERED
    assert alert.triggered_at == third_failure.checked_at
    assert incident.title == "Web Shop STATUS: DOWN"
    assert incident.state == State.INVESTIGATING
    assert incident.source == Incident.Source.ALERT
    assert incident.severity == Incident.Severity.CRITICAL
    assert incident.started_at == first_failure.checked_at
    assert incident.ended_at is None

    # Its first update tells what the alert knows, at the time of the alert.
    update = incident.updates.get()
    assert update.at == alert.triggered_at
    assert update.body == (
        "Alert triggered\n\n"
        "| Setting | Value |\n"
        "| :--- | :--- |\n"
        "| **Monitor Name** | Web Shop |\n"
        "| **Monitor Tag** | shop |\n"
        "| **Incident Status** | TRIGGERED |\n"
        "| **Severity** | CRITICAL |\n"
        "| **Alert Type** | STATUS |\n"
        "| **Alert Value** | DOWN |\n"
        "| **Failure Threshold** | 3 |"
    )
    impact = incident.impacts.get()
    assert (impact.monitor, impact.level, impact.ended_at) == (monitor, "DOWN", None)
    assert alert.incident_number == incident.pk
    assert incident.alert_links.get().alert == alert

    # The webhook and the operators hear of the alert, with the incident's address.
    (body,) = receiver.bodies
    assert body["type"] == "alert.triggered"
    assert body["monitor"]["tag"] == "shop"
    assert body["incident"] == {"id": incident.pk, "url": incident.url}
    notice, news = sorted(mailbox.mails, key=lambda mail: mail.to)
    assert notice.to == ["ops@example.org"]
    assert incident.url in notice.text

    # The reader gets the news, with a way out that takes one click.
    assert news.to == ["reader@example.org"]
    assert incident.title in news.subject
    assert incident.url in news.text
    # A long header is folded before its value.
    way_out = news.message["List-Unsubscribe"].strip()
    assert way_out == f"<{subscriber.unsubscribe_url}>"
    assert news.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"

    # The page shows it, and so does the page of the incident.
    page = client.get("/").content.decode()
    assert "Web Shop is down" in page
    assert incident.title in page
    assert "Monitor Tag" in client.get(incident.path).content.decode()

    # Further failures tell nobody anything new.
    mailbox.mails.clear()
    receiver.requests.clear()
    clockwork.run_checks()
    clockwork.settle()
    assert (Alert.objects.count(), Incident.objects.count()) == (1, 1)
    assert (mailbox.mails, receiver.requests) == ([], [])

    # An operator writes; the reader gets it.
    incident.update(
        state=State.IDENTIFIED, body="A **disk** is full.", at=timezone.now()
    )
    clockwork.settle()
    (mail,) = mailbox.mails
    assert "<strong>disk</strong>" in mail.html
    mailbox.mails.clear()

    # One success is not enough; the second one ends it.
    shop.recover()
    clockwork.run_checks()
    clockwork.settle()
    assert Alert.objects.get().state == Alert.State.TRIGGERED
    clockwork.run_checks()
    clockwork.settle()
    alert, incident = Alert.objects.get(), Incident.objects.get()
    closing = incident.updates.first()
    assert alert.state == Alert.State.RESOLVED
    assert incident.state == State.RESOLVED
    assert incident.ended_at == closing.at == alert.resolved_at
    assert closing.body.startswith("The alert has been resolved, Total duration: ")
    assert "| **Success Threshold** | 2 |" in closing.body
    assert incident.impacts.get().ended_at == incident.ended_at
    assert [b["type"] for b in receiver.bodies] == ["alert.resolved"]
    assert sorted(mail.to for mail in mailbox.mails) == [
        ["ops@example.org"],
        ["reader@example.org"],
    ]
    assert "is down" not in client.get("/").content.decode()

    # A later failure is a new incident.
    shop.break_down()
    for _ in range(3):
        clockwork.run_checks()
    clockwork.settle()
    assert Incident.objects.count() == 2

    # Whoever has enough leaves with one click, and hears no more.
    mailbox.mails.clear()
    client.post(f"/unsubscribe/{subscriber.token}/", {"List-Unsubscribe": "One-Click"})
    shop.recover()
    clockwork.run_checks()
    clockwork.run_checks()
    clockwork.settle()
    assert Incident.objects.open().count() == 0
    assert [mail.to for mail in mailbox.mails] == [["ops@example.org"]]


def test_outage_as_it_is_remembered(
    clockwork, client, api, shop, make_monitor, make_rule
):
    # A shop and its database are watched; the shop is nothing without the database.
    database = make_monitor("database", shop.url, name="Database")
    monitor = make_monitor("shop", shop.url, name="Web Shop", confirmations=2)
    monitor.depend_on([database])
    make_rule(monitor, failure_threshold=3)
    clockwork.run_checks()

    # The first failure is recorded, but not shown before another one confirms it.
    shop.break_down()
    clockwork.run_checks()
    state = Monitor.objects.get(tag="shop").state
    assert (state.status, state.raw_status) == ("up", "down")
    clockwork.run_checks()
    clockwork.settle()
    state.refresh_from_db()
    first_failure = monitor.results.filter(status="down").earliest("checked_at")
    assert (state.status, state.since) == ("down", first_failure.checked_at)

    # It is marked as a consequence of the database, and its answer is kept.
    newest = monitor.results.latest("checked_at")
    assert newest.is_consequence
    assert monitor.episodes.get().first["code"] == 500

    # Another probe has seen it, too; what it pushes is the third failure.
    pushed = {
        "monitor": "shop",
        "checked_at": timezone.now().isoformat(),
        "status": "down",
        "latency_ms": 12.5,
        "error": "The other probe sees it, too",
    }
    assert not Alert.objects.exists()
    for _ in range(2):  # repeating a request does no harm
        answer = api.post("/api/v1/results/", {"results": [pushed]})
    assert answer.json() == {"accepted": 0, "duplicates": 1, "refused": []}
    assert Alert.objects.get().error == "The other probe sees it, too"

    # The percentage says what it was computed from.
    shop.recover()
    clockwork.run_checks()
    clockwork.run_checks()
    clockwork.settle()
    told = api.get("/api/v1/monitors/shop/uptime/").json()
    assert told["uptime"] < 100
    down = [i for i in told["intervals"] if i["status"] == "down"]
    assert down[0]["cause"].endswith("(a consequence: Database is down)")

    # A person knows better, and says so; it shows that somebody has.
    Correction.objects.create(
        monitor=monitor,
        started_at=state.since,
        ended_at=timezone.now(),
        status=Correction.Verdict.EXCLUDED,
        reason="A drill",
        author="ana",
    )
    told = api.get("/api/v1/monitors/shop/uptime/").json()
    assert told["uptime"] == 100
    marked = [i for i in told["intervals"] if i["corrected"]]
    assert marked[0]["cause"] == "Corrected by ana: A drill"


def test_outage_that_is_told_to_those_it_concerns(
    clockwork,
    client,
    admin,
    api,
    shop,
    receiver,
    mailbox,
    make_monitor,
    make_rule,
    make_trigger,
):
    # Before a rule is saved, it says what it would have made of what has been.
    database = make_monitor("database", shop.url, name="Database")
    monitor = make_monitor("shop", shop.url, name="Web Shop")
    clockwork.run_checks()
    shop.break_down()
    clockwork.run_checks()
    clockwork.run_checks()
    shop.recover()
    clockwork.run_checks()
    tried = api.post(
        "/api/v1/alert-rules/simulate/",
        {"monitors": ["shop"], "failure_threshold": 2, "success_threshold": 1},
    )
    assert [a["monitor"] for a in tried.json()["alerts"]] == ["shop"]

    # The shop depends on the database; rules watch whatever is labelled "payments".
    monitor.depend_on([database])
    label = Label.objects.create(name="payments")
    for one in (database, monitor):
        one.label([label])
    rule = make_rule(
        failure_threshold=2,
        success_threshold=1,
        repeat_minutes=30,
        triggers=[make_trigger("webhook", url=receiver.url)],
    )
    rule.watch([], labels=[label])
    Subscriber.ask("reader@example.org", at=timezone.now())
    Subscriber.objects.get().confirm(at=timezone.now())
    # What opens by itself is a draft, until somebody publishes it.
    Automation(draft_mode=Automation.Drafts.ON, group_wait=0).save()
    clockwork.run_checks()
    clockwork.settle()
    mailbox.mails.clear()

    # Both fail. The operators hear of the database, and of nothing that follows from it.
    shop.break_down()
    clockwork.run_checks()
    clockwork.run_checks()
    clockwork.settle()
    (notice,) = receiver.bodies
    assert notice["monitor"]["tag"] == "database"
    (decision,) = api.get("/api/v1/decisions/?monitor=shop").json()["results"]
    assert decision["gate"] == "parent"
    reason = "Its parent Database is down"
    assert decision["reason"] == reason
    assert reason[1:] in str(api.get("/api/v1/monitors/shop/why/").json()["reasons"])

    # The incident is a draft: the public sees nothing of it, and nobody gets a mail.
    (draft,) = Incident.objects.all()
    assert draft.is_draft
    assert draft.badge == "Auto: Uptime"
    assert draft.title not in client.get("/").content.decode()
    assert client.get(draft.path).status_code == 404
    assert mailbox.mails == []

    # Somebody takes note of the alert; nobody is reminded of it any more.
    alert = Alert.objects.get(monitor=database)
    taken = api.post(
        f"/api/v1/alerts/{alert.pk}/acknowledge/", {"note": "On it"}, format="json"
    )
    assert taken.status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=31), tick=False):
        attention.sweep(timezone.now())
    clockwork.settle()
    assert [b["type"] for b in receiver.bodies][1:] == ["alert.acknowledged"]

    # A person publishes the draft; now the page shows it, and the reader gets it.
    api.post(f"/api/v1/incidents/{draft.pk}/publish/")
    clockwork.settle()
    assert draft.title in client.get("/").content.decode()
    (mail,) = mailbox.mails
    assert draft.title in mail.subject

    # The database is well again, the shop is not: now it matters by itself.
    MonitorState.objects.filter(pk=database.pk).update(status="up", raw_status="up")
    with time_machine.travel(timezone.now() + timedelta(minutes=1), tick=False):
        announcing.announce_due()
    assert Alert.objects.get(monitor=monitor).withheld == ""
    assert Incident.objects.count() == 2

    # Both recover. What was public is closed; the other draft is discarded unseen.
    mailbox.mails.clear()
    shop.recover()
    clockwork.run_checks()
    clockwork.settle()
    draft.refresh_from_db()
    assert draft.state == State.RESOLVED
    assert [mail.to for mail in mailbox.mails] == [["reader@example.org"]]
    other = Incident.objects.exclude(pk=draft.pk).get()
    assert other.discarded_at
    assert other.published_at is None


def test_outage_that_people_work_on(
    clockwork, client, api, operator, shop, mailbox, make_monitor, make_rule
):
    # A shop fails, and an incident opens by itself; readers get a mail at once.
    Automation(group_wait=0).save()
    monitor = make_monitor("shop", shop.url, name="Web Shop")
    make_rule(monitor, failure_threshold=2, success_threshold=1)
    Subscriber.ask("reader@example.org", at=timezone.now())
    Subscriber.objects.get().confirm(at=timezone.now())
    clockwork.run_checks()
    clockwork.settle()
    mailbox.mails.clear()
    shop.break_down()
    clockwork.run_checks()
    clockwork.run_checks()
    clockwork.settle()
    incident = Incident.objects.get()
    path = f"/api/v1/incidents/{incident.pk}/"

    # Somebody has written one by hand about the same. The two become one.
    began = timezone.now().isoformat()
    told = {"title": "Orders hang", "summary": "We look.", "started_at": began}
    by_hand = api.post("/api/v1/incidents/", told).json()
    address = f"/api/v1/incidents/{by_hand['id']}/"
    assert api.post(f"{address}merge/", {"into": incident.pk}).status_code == 200
    clockwork.settle()
    assert b"Orders hang" in client.get(incident.path).content
    moved = client.get(f"/incidents/{by_hand['id']}/")
    assert (moved.status_code, moved.headers["Location"]) == (302, incident.path)

    # It gets an owner, who is asked for news when there is none for half an hour.
    mailbox.mails.clear()
    api.patch(path, {"owner": operator.username})
    with time_machine.travel(timezone.now() + timedelta(minutes=31), tick=True):
        clockwork.settle()
        clockwork.settle()
    (mail,) = mailbox.mails
    assert mail.to == [operator.email]
    assert incident.title in mail.subject

    # The repair needs a maintenance: readers are told of it and reminded, and the
    # alerts of the shop are held meanwhile.
    mailbox.mails.clear()
    start = timezone.now() + timedelta(hours=2)
    planned = {
        "title": "New disk",
        "description": "The shop is **closed** meanwhile.",
        "starts_at": start.isoformat(),
        "ends_at": (start + timedelta(hours=1)).isoformat(),
        "monitors": [{"tag": "shop", "impact": "MAINTENANCE"}],
        "reminders": [60],
    }
    assert api.post("/api/v1/maintenances/", planned).status_code == 201
    steps = [("SCHEDULED", 0), ("SCHEDULED", 61), ("IN_PROGRESS", 121)]
    for state, minutes in [*steps, ("COMPLETED", 181)]:
        at = start + timedelta(minutes=minutes - 120)
        with time_machine.travel(at, tick=True):
            keep_maintenances.run()
            clockwork.settle()
        assert Occurrence.objects.get().state == state
    to_reader = [m for m in mailbox.mails if m.to == ["reader@example.org"]]
    assert len(to_reader) == len({m.subject for m in to_reader}) == 4

    # The shop is well again; the incident ends with its whole story on record.
    shop.recover()
    clockwork.run_checks()
    clockwork.settle()
    kept = api.get(f"{path}export/?as=markdown").content.decode()
    for said in ("Opened", "became part of it", f"Owner: {operator}", "Asked for news"):
        assert said in kept
    assert Incident.objects.get(pk=incident.pk).state == State.RESOLVED
