import pytest

from outbox.channels import DeliveryFailed

from .notices import AT, FACTS, TEXT, URL, alert, hostile, resolved

TOKEN, USER = "t" * 30, "u" * 30
TOOK = {"status": 1, "request": "req"}


@pytest.fixture
def user(receiver):
    return {"token": TOKEN, "user": USER, "api_url": receiver.url}


def test_alert_rings_at_night(user, deliver):
    sent, _ = deliver("pushover", user, answer=TOOK)

    facts = "\n".join(f"{name}: {value}" for name, value in FACTS.items())
    assert (sent.method, sent.path) == ("POST", "/1/messages.json")
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.body == {
        "token": TOKEN,
        "user": USER,
        "title": "🔴 CRITICAL: Shop is down",
        "message": f"{TEXT}\n\n{facts}",
        "timestamp": str(int(AT.timestamp())),
        "priority": "1",
        "url": URL,
        "url_title": "Open alert",
    }


def test_emergency_rings_until_acknowledged(user, deliver):
    loud = user | {"emergency": True, "retry": 30, "expire": 600, "device": "phone"}

    sent, _ = deliver("pushover", loud, answer=TOOK | {"receipt": "rec"})
    calm, _ = deliver("pushover", loud, alert(severity="WARNING"), answer=TOOK)

    asked = {name: sent.body[name] for name in ("priority", "retry", "expire")}
    assert asked == {"priority": "2", "retry": "30", "expire": "600"}
    assert sent.body["device"] == "phone"
    assert calm.body["priority"] == "0"
    assert "retry" not in calm.body


def test_resolved_alert_is_a_message_of_its_own(user, deliver):
    loud = user | {"emergency": True}

    sent, _ = deliver("pushover", loud, resolved(), answer=TOOK, thread="req")

    assert sent.body["priority"] == "0"
    assert sent.body["title"] == "🟢 Resolved: Shop is down"


def test_hostile_text_stays_in_its_field_and_fits(user, deliver):
    sent, _ = deliver("pushover", user, hostile(), answer=TOOK)

    assert len(sent.body["title"]) == 250
    assert len(sent.body["message"]) == 1024
    assert sent.body["token"] == TOKEN
    assert "html" not in sent.body
    assert "<script>" in sent.body["message"]


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (404, True), (429, False), (500, False)]
)
def test_refusal(status, final, user, deliver):
    with pytest.raises(DeliveryFailed, match="is invalid") as failed:
        deliver(
            "pushover",
            user,
            status=status,
            answer={"status": 0, "errors": ["application token is invalid"]},
        )

    assert failed.value.final is final


def test_refusal_in_an_answer_of_200(user, deliver):
    with pytest.raises(DeliveryFailed, match="no devices"):
        deliver("pushover", user, answer={"status": 0, "errors": ["no devices"]})


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"token": "short"}, "token"),
        ({"user": "u" * 29 + "\n"}, "user"),
        ({"retry": 29}, "retry"),
        ({"expire": 10_801}, "expire"),
        ({"api_url": "x"}, "api_url"),
    ],
)
def test_what_is_wrong_with_a_config(more, field, user, faults):
    assert list(faults("pushover", user | more)) == [field]
