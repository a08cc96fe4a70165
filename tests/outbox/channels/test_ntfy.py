import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, TEXT, THREAD_KEY, URL, alert, hostile, news, resolved


@pytest.fixture
def topic(receiver):
    return {"url": receiver.url, "topic": "secret-topic", "token": "tk_secret"}


def test_alert_rings(topic, deliver):
    sent, _ = deliver("ntfy", topic, answer={"id": "abc"})

    facts = "\n".join(f"{name}: {value}" for name, value in FACTS.items())
    assert (sent.method, sent.path) == ("POST", "/")
    assert sent.headers["Authorization"] == "Bearer tk_secret"
    assert sent.body == {
        "topic": "secret-topic",
        "title": "CRITICAL: Shop is down",
        "message": f"{TEXT}\n\n{facts}",
        "priority": 5,
        "tags": ["rotating_light"],
        "click": URL,
        "actions": [{"action": "view", "label": "Open alert", "url": URL}],
        "sequence_id": THREAD_KEY,
    }


def test_resolved_alert_replaces_the_first_message(topic, deliver):
    sent, _ = deliver("ntfy", topic, resolved())

    assert sent.body["sequence_id"] == THREAD_KEY
    assert (sent.body["priority"], sent.body["tags"]) == (3, ["white_check_mark"])
    assert sent.body["title"] == "Resolved: Shop is down"


def test_priority_by_severity(topic, deliver):
    sent, _ = deliver("ntfy", topic, alert(severity="WARNING"))

    assert sent.body["priority"] == 4


def test_without_token_and_topic(topic, deliver):
    sent, _ = deliver("ntfy", topic | {"token": ""}, news(), topic="")

    assert sent.headers["Authorization"] is None
    assert "sequence_id" not in sent.body


def test_hostile_text_is_in_no_header_and_fits(topic, deliver):
    sent, _ = deliver("ntfy", topic, hostile())

    assert len(sent.body["message"].encode()) <= 4096
    assert len(sent.raw) <= 2 * 4096
    assert "<script>" in sent.body["title"]
    assert "script" not in str(sent.headers)


@pytest.mark.parametrize(("status", "final"), [(403, False), (413, True), (429, False)])
def test_refusal(status, final, topic, deliver):
    with pytest.raises(DeliveryFailed, match=str(status)) as failed:
        deliver("ntfy", topic, status=status, answer={"error": "no"})

    assert failed.value.final is final


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": "ntfy.sh"}, "url"),
        ({"topic": "a/b"}, "topic"),
        ({"topic": ""}, "topic"),
        ({"token": "a\nb"}, "token"),
    ],
)
def test_what_is_wrong_with_a_config(more, field, topic, faults):
    assert list(faults("ntfy", topic | more)) == [field]
