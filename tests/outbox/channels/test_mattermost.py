import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, URL, hostile, resolved

CHANNEL, POST = "c" * 26, "p" * 26
ATTACHMENT = {
    "fallback": "CRITICAL: Shop is down",
    "color": "#C62828",
    "title": "Open alert",
    "title_link": URL,
    "text": "Sells \\*nothing\\*.\n3 failures in a row\nLast error: Connection refused",
    "fields": [{"short": True, "title": n, "value": v} for n, v in FACTS.items()],
}


@pytest.fixture
def bot(receiver):
    return {"api_url": receiver.url, "token": "secret", "channel_id": CHANNEL}


def test_bot_posts_an_alert(bot, deliver):
    sent, taken = deliver("mattermost", bot, status=201, answer={"id": POST})

    assert (sent.method, sent.path) == ("POST", "/api/v4/posts")
    assert sent.headers["Authorization"] == "Bearer secret"
    assert sent.body == {
        "channel_id": CHANNEL,
        "message": "🔴 CRITICAL: Shop is down",
        "props": {"attachments": [ATTACHMENT]},
    }
    assert taken.reference == POST


def test_bot_says_in_the_thread_that_it_is_over(bot, deliver):
    sent, _ = deliver("mattermost", bot, resolved(), thread=POST)
    stranger, _ = deliver("mattermost", bot, resolved(), thread="C0123:1.2")

    assert sent.body["root_id"] == POST
    assert sent.body["message"] == "🟢 Resolved: Shop is down"
    assert "root_id" not in stranger.body


def test_webhook_gets_the_same_without_a_thread(receiver, deliver):
    hook = {"url": f"{receiver.url}hooks/secret"}

    sent, taken = deliver("mattermost", hook, thread=POST)

    assert sent.path == "/hooks/secret"
    assert sent.headers["Authorization"] is None
    assert sent.body == {
        "text": "🔴 CRITICAL: Shop is down",
        "attachments": [ATTACHMENT],
    }
    assert taken.reference == ""


def test_hostile_text_calls_nobody_and_fits(bot, deliver):
    sent, _ = deliver("mattermost", bot, hostile())

    (made,) = sent.body["props"]["attachments"]
    assert len(sent.body["message"]) <= 16_383
    assert len(made["text"]) <= 16_383
    for text in (sent.body["message"], made["fallback"], made["text"]):
        assert text.count("@") == text.count("@\u200b") > 0
        bare = text.replace("\\\\", "")
        for mark in "*_`~|>[]#":
            assert bare.count(mark) == bare.count("\\" + mark) > 0, mark


@pytest.mark.parametrize(("status", "final"), [(400, True), (401, False), (403, False)])
def test_refusal(status, final, bot, deliver):
    with pytest.raises(DeliveryFailed, match=str(status)) as failed:
        deliver("mattermost", bot, status=status, answer={"message": "no"})

    assert failed.value.final is final


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "token"),
        ({"token": "t", "url": "https://x.test/"}, "token"),
        ({"token": "t", "channel_id": CHANNEL}, "api_url"),
        ({"token": "t", "channel_id": "town", "api_url": "https://x/"}, "channel_id"),
        ({"token": "t t", "channel_id": CHANNEL, "api_url": "https://x/"}, "token"),
        ({"url": "hooks/secret"}, "url"),
    ],
)
def test_what_is_wrong_with_a_config(config, field, faults):
    assert list(faults("mattermost", config)) == [field]
