import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, TEXT, THREAD_KEY, URL, alert, hostile, news, resolved


@pytest.fixture
def team(receiver):
    return {"api_key": "secret-key", "url": receiver.url}


def test_alert_is_created(team, deliver):
    sent, taken = deliver("opsgenie", team, status=202, answer={"requestId": "1"})

    assert (sent.method, sent.path) == ("POST", "/v2/alerts")
    assert sent.headers["Authorization"] == "GenieKey secret-key"
    assert sent.body == {
        "alias": THREAD_KEY,
        "message": "CRITICAL: Shop is down",
        "description": TEXT,
        "details": {**FACTS, "Open alert": URL},
        "entity": "shop",
        "source": "Tocsin",
        "priority": "P1",
    }
    assert taken.reference == ""


@pytest.mark.parametrize(
    ("content", "action", "said"),
    [
        (resolved(), "close", "Lasted: 1 h 2 min 2 s"),
        (alert("alert.acknowledged"), "acknowledge", "Monitor: Shop (shop)"),
    ],
)
def test_what_follows_is_of_the_same_alert(content, action, said, team, deliver):
    sent, _ = deliver("opsgenie", team, content, status=202)

    assert sent.path == f"/v2/alerts/{THREAD_KEY}/{action}?identifierType=alias"
    assert set(sent.body) == {"source", "note"}
    assert said in sent.body["note"]


def test_priority_by_severity(team, deliver):
    warning, _ = deliver("opsgenie", team, alert(severity="WARNING"))
    test, _ = deliver("opsgenie", team, news(), topic="")

    assert (warning.body["priority"], test.body["priority"]) == ("P3", "P5")


@pytest.mark.parametrize("kind", ["alert.triggered", "alert.resolved"])
def test_hostile_text_fits(kind, team, deliver):
    content = hostile()
    content.values["type"] = kind

    sent, _ = deliver("opsgenie", team, content)

    assert len(sent.body.get("message", "")) <= 130
    assert len(sent.body.get("description", "")) <= 15_000
    assert len(sent.body.get("note", "")) <= 15_000
    assert sum(map(len, sent.body.get("details", {}).values())) <= 8000
    assert "<script>" in str(sent.body)


@pytest.mark.parametrize(("status", "final"), [(401, False), (422, True), (429, False)])
def test_refusal(status, final, team, deliver):
    with pytest.raises(DeliveryFailed, match="no such key") as failed:
        deliver("opsgenie", team, status=status, answer={"message": "no such key"})

    assert failed.value.final is final


@pytest.mark.parametrize(
    ("more", "field"), [({"api_key": "a b"}, "api_key"), ({"url": "x"}, "url")]
)
def test_what_is_wrong_with_a_config(more, field, team, faults):
    assert list(faults("opsgenie", team | more)) == [field]
