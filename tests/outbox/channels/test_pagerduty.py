import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, TEXT, THREAD_KEY, URL, alert, hostile, news, resolved

TOOK = {"status": "success", "dedup_key": THREAD_KEY}
ROUTING_KEY = "a" * 32


@pytest.fixture
def service(receiver):
    return {"routing_key": ROUTING_KEY, "url": receiver.url}


def test_alert_triggers(service, deliver):
    sent, taken = deliver("pagerduty", service, status=202, answer=TOOK)

    assert (sent.method, sent.path) == ("POST", "/v2/enqueue")
    assert sent.body == {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": THREAD_KEY,
        "client": "Tocsin",
        "client_url": URL,
        "links": [{"href": URL, "text": "Open alert"}],
        "payload": {
            "summary": "CRITICAL: Shop is down",
            "source": "shop",
            "severity": "critical",
            "timestamp": "2026-03-01T12:00:00+00:00",
            "custom_details": {**FACTS, "Text": TEXT},
        },
    }
    assert taken.reference == THREAD_KEY


@pytest.mark.parametrize(
    ("content", "action"),
    [(resolved(), "resolve"), (alert("alert.acknowledged"), "acknowledge")],
)
def test_what_follows_is_of_the_same_alert(content, action, service, deliver):
    sent, _ = deliver("pagerduty", service, content, thread=THREAD_KEY)

    assert sent.body == {
        "routing_key": ROUTING_KEY,
        "event_action": action,
        "dedup_key": THREAD_KEY,
    }


def test_key_is_what_pagerduty_said_unless_another_service_said_it(service, deliver):
    said, _ = deliver("pagerduty", service, resolved(), thread="tocsin-before")
    stranger, _ = deliver("pagerduty", service, resolved(), thread="C0123:1.2")

    assert said.body["dedup_key"] == "tocsin-before"
    assert stranger.body["dedup_key"] == THREAD_KEY


def test_reminder_triggers_the_same_alert_again(service, deliver):
    content = alert("alert.reminded", severity="WARNING")

    sent, _ = deliver("pagerduty", service, content)

    assert (sent.body["event_action"], sent.body["dedup_key"]) == (
        "trigger",
        THREAD_KEY,
    )
    assert sent.body["payload"]["severity"] == "warning"


def test_test_pages_softly_and_says_so(service, deliver):
    sent, _ = deliver("pagerduty", service, news(), topic="")

    assert sent.body["payload"]["severity"] == "info"
    assert sent.body["payload"]["summary"] == "Test of Chat from Tocsin"
    assert sent.body["dedup_key"] != THREAD_KEY


def test_hostile_text_fits(service, deliver):
    sent, _ = deliver("pagerduty", service, hostile())

    payload = sent.body["payload"]
    assert len(payload["summary"]) <= 1024
    assert len(payload["source"]) <= 1024
    assert "<script>" in payload["summary"]
    assert len(sent.raw) < 512 * 1024


@pytest.mark.parametrize(("status", "final"), [(400, True), (429, False), (500, False)])
def test_refusal(status, final, service, deliver):
    with pytest.raises(DeliveryFailed, match="invalid event") as failed:
        deliver("pagerduty", service, status=status, answer={"status": "invalid event"})

    assert failed.value.final is final


@pytest.mark.parametrize(
    ("more", "field"),
    [({"routing_key": "short"}, "routing_key"), ({"url": "pagerduty.com"}, "url")],
)
def test_what_is_wrong_with_a_config(more, field, service, faults):
    assert list(faults("pagerduty", service | more)) == [field]
