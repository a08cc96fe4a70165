import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, TEXT, URL, alert, hostile, resolved


@pytest.fixture
def server(receiver):
    return {"url": receiver.url, "token": "secret"}


def test_alert_rings(server, deliver):
    sent, _ = deliver("gotify", server, answer={"id": 25})

    facts = "\n".join(f"{name}: {value}" for name, value in FACTS.items())
    assert (sent.method, sent.path) == ("POST", "/message")
    assert sent.headers["X-Gotify-Key"] == "secret"
    assert sent.body == {
        "title": "🔴 CRITICAL: Shop is down",
        "message": f"{TEXT}\n\n{facts}",
        "priority": 8,
        "extras": {
            "client::display": {"contentType": "text/plain"},
            "client::notification": {"click": {"url": URL}},
        },
    }


def test_priorities(server, deliver):
    over, _ = deliver("gotify", server, resolved(), thread="25")
    warning, _ = deliver("gotify", server, alert(severity="WARNING"))

    assert over.body["title"] == "🟢 Resolved: Shop is down"
    assert (over.body["priority"], warning.body["priority"]) == (4, 5)


def test_hostile_text_is_plain_text(server, deliver):
    sent, _ = deliver("gotify", server, hostile())

    assert sent.body["extras"]["client::display"] == {"contentType": "text/plain"}
    assert "<script>" in sent.body["message"]
    assert len(sent.body["message"]) > 10_000


def test_refusal(server, deliver):
    with pytest.raises(DeliveryFailed, match="401") as failed:
        deliver("gotify", server, status=401, answer={"error": "Unauthorized"})

    assert not failed.value.final


@pytest.mark.parametrize(
    ("more", "field"), [({"url": "gotify.test"}, "url"), ({"token": "a b"}, "token")]
)
def test_what_is_wrong_with_a_config(more, field, server, faults):
    assert list(faults("gotify", server | more)) == [field]
