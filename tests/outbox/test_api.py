import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.models import ApiKey
from outbox.models import Attempt, Circuit, Message, Trigger, message

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
def queue(db):
    def queue(number=1, **more):
        more.setdefault("destination", "ana@example.org")
        more.setdefault("kind", "email")
        Message.queue(
            message(
                dedup_key=f"test:{Message.objects.count()}:{n}",
                renderer="confirmation",
                values={"subscriber": n},
                topic_key="incident:7",
                **more,
            )
            for n in range(number)
        )
        return Message.objects.first()

    return queue


def hook(**config):
    return {
        "name": "Pager",
        "kind": "webhook",
        "config": {"url": "http://127.0.0.1:9/secret-path", **config},
    }


def test_secrets_of_a_trigger_are_not_read_back(api):
    answer = api.post("/api/v1/triggers/", hook(secret=SECRET))

    assert answer.status_code == 201
    assert answer.json()["config"] == {
        "url": "***",
        "method": "POST",
        "headers": {},
        "body": "",
        "secret": "***",
        "timeout": 10.0,
    }
    assert "secret-path" not in api.get("/api/v1/triggers/").content.decode()
    assert Trigger.objects.get().config["secret"] == SECRET


def test_signing_secret_is_shown_to_those_who_may_change_triggers(api, client):
    path = f"/api/v1/triggers/{api.post('/api/v1/triggers/', hook()).json()['id']}/"
    reader = ApiKey(name="reader", scopes=["alerting:read"]).issue()
    as_reader = {"Authorization": f"Bearer {reader}"}

    shown = api.post(f"{path}secret/").json()

    assert shown == {"secret": Trigger.objects.get().config["secret"]}
    assert client.post(f"{path}secret/", headers=as_reader).status_code == 403


def test_secret_that_is_left_out_is_kept(api):
    path = f"/api/v1/triggers/{api.post('/api/v1/triggers/', hook()).json()['id']}/"
    before = Trigger.objects.get().config["secret"]

    api.patch(path, {"config": {"url": "http://127.0.0.1:9/"}})

    assert Trigger.objects.get().config["secret"] == before


def test_stars_written_back_keep_the_secrets(api):
    path = f"/api/v1/triggers/{api.post('/api/v1/triggers/', hook()).json()['id']}/"

    config = {"url": "***", "secret": SECRET, "timeout": 3}
    assert api.patch(path, {"config": config}).status_code == 200
    api.patch(path, {"config": {"url": "***", "secret": "***"}})

    config = Trigger.objects.get().config
    assert config["url"] == "http://127.0.0.1:9/secret-path"
    assert (config["secret"], config["timeout"]) == (SECRET, 10.0)


def test_stars_stand_for_nothing_in_a_trigger_of_another_kind(api):
    path = f"/api/v1/triggers/{api.post('/api/v1/triggers/', hook()).json()['id']}/"
    api.patch(path, {"kind": "email", "config": {"to": ["ana@example.org"]}})

    answer = api.patch(path, {"kind": "webhook", "config": {"url": "***"}})

    assert answer.json()["errors"] == {
        "config": {"url": ["Give an address that begins with http:// or https://."]}
    }


@pytest.mark.parametrize(
    ("trigger", "errors"),
    [
        (
            hook(secret="short"),
            {
                "config": {
                    "secret": [
                        "Give 24 to 64 bytes in base64, with whsec_ before them."
                    ]
                }
            },
        ),
        (
            {"name": "Mail", "kind": "email", "config": {}},
            {"config": {"to": ["Give at least one address."]}},
        ),
        (
            {"name": "Mail", "kind": "email", "config": {"to": ["nobody"]}},
            {"config": {"to": ["'nobody' is no address."]}},
        ),
        ({"name": "Mail", "kind": "email"}, {"config": ["This field is required."]}),
    ],
)
def test_unfit_trigger_is_refused_by_field(api, trigger, errors):
    answer = api.post("/api/v1/triggers/", trigger)

    assert answer.status_code == 400
    assert answer.json()["errors"] == errors


def test_name_of_a_trigger_is_taken_once(api):
    api.post("/api/v1/triggers/", hook())

    answer = api.post("/api/v1/triggers/", hook())

    assert answer.json()["errors"] == {
        "name": ["trigger with this name already exists."]
    }


def test_deleted_trigger_leaves_its_messages(api, make_trigger, queue):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    queue(trigger=trigger, kind="webhook", destination="")

    assert api.delete(f"/api/v1/triggers/{trigger.pk}/").status_code == 204
    assert Message.objects.get().trigger is None


def test_test_of_a_trigger_sends_for_real(api, make_trigger, receiver):
    trigger = make_trigger(url=receiver.url, secret=SECRET)

    answer = api.post(f"/api/v1/triggers/{trigger.pk}/test/")

    told = {"delivered": True, "answer": "200 ok"}
    steps = [{"what": what, **told} for what in ("TRIGGERED", "RESOLVED")]
    assert answer.json() == {**told, "steps": steps}
    said = [(body["type"], body["is_test"]) for body in receiver.bodies]
    assert said == [("alert.triggered", True), ("alert.resolved", True)]
    assert "webhook-signature" in receiver.requests[0][2]
    assert not Message.objects.exists()


def test_test_of_a_trigger_tells_why_it_failed(api, make_trigger, receiver):
    receiver.status, receiver.body = 410, b"gone away"
    trigger = make_trigger(url=receiver.url)

    answer = api.post(f"/api/v1/triggers/{trigger.pk}/test/")

    assert answer.status_code == 200
    told = {"delivered": False, "answer": "410 gone away"}
    assert answer.json() == {**told, "steps": [{"what": "TRIGGERED", **told}]}


def test_test_of_a_mail_trigger_arrives(api, make_trigger, mailbox):
    trigger = make_trigger("email", to=["ana@example.org"])

    answer = api.post(f"/api/v1/triggers/{trigger.pk}/test/")

    assert answer.json()["delivered"] is True
    assert [mail.to for mail in mailbox.mails] == [["ana@example.org"]] * 2


def test_test_of_a_trigger_whose_config_no_longer_fits_says_so(api, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    Trigger.objects.update(config={"url": "nowhere"})

    answer = api.post(f"/api/v1/triggers/{trigger.pk}/test/")

    assert answer.status_code == 200
    assert answer.json()["delivered"] is False
    assert "Give an address" in answer.json()["answer"]


def test_message_is_shown_without_secrets(api, make_trigger, queue):
    trigger = make_trigger(name="Pager", url="http://127.0.0.1:9/secret-path")
    sent = queue(trigger=trigger, kind="webhook", destination="")
    now = timezone.now()
    Attempt.objects.create(
        message=sent,
        number=1,
        started_at=now,
        finished_at=now,
        is_success=False,
        answer="500",
    )

    shown = api.get(f"/api/v1/messages/{sent.pk}/").json()

    assert shown["log"].pop()["answer"] == "500"
    assert (
        shown.items()
        >= {
            "key": str(sent.key),
            "kind": "webhook",
            "destination": "Pager",
            "trigger": trigger.pk,
            "state": "QUEUED",
            "topic": "incident:7",
            "attempts": 0,
            "finished_at": None,
            "values": {"subscriber": 0},
        }.items()
    )
    assert "secret-path" not in api.get("/api/v1/messages/").content.decode()


def test_messages_are_filtered(api, queue):
    given_up = queue()
    Message.objects.update(state="FAILED")
    waiting = queue(recipient_key="subscriber:1")

    def ids(query):
        found = api.get(f"/api/v1/messages/?{query}").json()["results"]
        return [message["id"] for message in found]

    assert ids("") == [waiting.pk, given_up.pk]
    assert ids("state=FAILED") == [given_up.pk]
    assert ids("recipient=subscriber:1") == [waiting.pk]
    assert ids("topic=incident:7&kind=email") == [waiting.pk, given_up.pk]


def test_replay_queues_again_under_the_same_key(api, queue):
    sent = queue()
    Message.objects.update(state="FAILED", attempts=10)

    answer = api.post(f"/api/v1/messages/{sent.pk}/replay/")

    assert answer.status_code == 200
    assert answer.json().items() >= {"state": "QUEUED", "attempts": 0}.items()
    assert answer.json()["key"] == str(sent.key)


def test_messages_need_the_same_queries_for_any_number(api, queue, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    queue(trigger=trigger)
    api.get("/api/v1/messages/")
    with CaptureQueriesContext(connection) as one:
        api.get("/api/v1/messages/")
    queue(29, trigger=trigger)

    with CaptureQueriesContext(connection) as thirty:
        answer = api.get("/api/v1/messages/")

    assert len(answer.json()["results"]) == 30
    assert len(thirty) == len(one) == 3


def test_circuit_of_a_trigger_is_shown_and_not_written(api, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    path = f"/api/v1/triggers/{trigger.pk}/"
    closed = {"state": "closed", "since": None, "retry_at": None, "last_answer": ""}
    assert api.get(path).json()["circuit"] == closed

    now = timezone.now()
    for _ in range(Circuit.MOST_FAILURES):
        Circuit.failed(trigger.pk, "503 away", claim=None, at=now)

    shown = api.get(path).json()["circuit"]
    assert (shown["state"], shown["last_answer"]) == ("open", "503 away")
    assert shown["since"] < shown["retry_at"]
    refused = api.patch(path, {"circuit": {"state": "closed"}})
    assert refused.json()["errors"] == {"circuit": ["This field is read-only."]}


def test_triggers_need_the_same_queries_for_any_number(api, make_trigger):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert api.get("/api/v1/triggers/").status_code == 200
        return len(captured)

    make_trigger(name="first", url="http://127.0.0.1:9/")
    queries()
    one = queries()
    for n in range(29):
        made = make_trigger(name=f"hook {n}", url="http://127.0.0.1:9/")
        Circuit.objects.create(trigger=made)

    assert queries() == one


@pytest.mark.parametrize("limit", [0, -1, 60_001, "30", 1.5])
def test_unfit_limit_is_refused(api, limit):
    answer = api.post("/api/v1/triggers/", {**hook(), "most_a_minute": limit})

    assert answer.json()["errors"].keys() == {"most_a_minute"}


def test_limit_is_read_back(api):
    made = api.post("/api/v1/triggers/", {**hook(), "most_a_minute": 30}).json()

    assert made["most_a_minute"] == 30
    path = f"/api/v1/triggers/{made['id']}/"
    assert api.patch(path, {"most_a_minute": None}).json()["most_a_minute"] is None


def replay(api, **filters):
    return api.post("/api/v1/messages/replay/", filters)


def test_replay_of_many_takes_the_filters_of_the_list(api, queue):
    queue(3)
    Message.objects.update(state="FAILED", attempts=10)
    queue(2, recipient_key="subscriber:1")
    keys = set(Message.objects.values_list("key", flat=True))

    assert replay(api, state="FAILED", kind="webhook").json() == {"replayed": 0}
    assert replay(api, state="FAILED", topic="incident:7").json() == {"replayed": 3}

    assert not Message.objects.exclude(state="QUEUED", attempts=0).exists()
    assert set(Message.objects.values_list("key", flat=True)) == keys


def test_replay_of_many_leaves_alone_what_waits(api, queue):
    queue(3)
    Message.objects.update(attempts=2)

    assert replay(api, topic="incident:7").json() == {"replayed": 0}

    assert {m.attempts for m in Message.objects.all()} == {2}


def test_replay_by_ids_and_recipient(api, queue):
    first = queue(recipient_key="subscriber:1")
    second = queue(recipient_key="subscriber:2")
    Message.objects.update(state="DELIVERED")

    assert replay(api, ids=[first.pk, second.pk], recipient="subscriber:2").json() == {
        "replayed": 1
    }
    second.refresh_from_db()
    assert second.state == "QUEUED"


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({}, "non_field_errors"),
        ({"ids": []}, "ids"),
        ({"state": "GONE"}, "state"),
        ({"trigger": "1"}, "trigger"),
        ({"topic": ""}, "topic"),
        ({"topics": "incident:7"}, "topics"),
        ({"state": "FAILED", "replayed": 3}, "replayed"),
    ],
)
def test_unfit_replay_of_many_is_refused(api, queue, filters, field):
    queue()
    Message.objects.update(state="FAILED")

    answer = replay(api, **filters)

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert Message.objects.get().state == "FAILED"


def test_replay_of_many_needs_the_scope_to_write(queue, client):
    reader = ApiKey(name="reader", scopes=["messages:read"]).issue()

    answer = client.post(
        "/api/v1/messages/replay/",
        {"state": "FAILED"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {reader}"},
    )

    assert answer.status_code == 403


def test_replay_of_many_works_in_chunks_up_to_its_limit(queue):
    queue(2500)
    Message.objects.update(state="FAILED")

    assert Message.objects.all().replay(at=timezone.now(), most=2200) == 2200

    assert Message.objects.waiting().count() == 2200
    assert Message.objects.given_up().count() == 300
