import json

import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, KEY, URL, hostile, news, resolved

TOOK = {"ok": True, "channel": "C0123", "ts": "1772366400.000100"}


@pytest.fixture
def bot(receiver):
    return {"token": "xoxb-1-secret", "channel": "C0123", "api_url": receiver.url}


def mrkdwn(text):
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def test_bot_posts_an_alert(bot, deliver):
    sent, taken = deliver("slack", bot, answer=TOOK)

    assert (sent.method, sent.path) == ("POST", "/chat.postMessage")
    assert sent.headers["Authorization"] == "Bearer xoxb-1-secret"
    assert sent.headers["Content-Type"] == "application/json; charset=utf-8"
    assert sent.headers["Idempotency-Key"] == KEY
    assert sent.body == {
        "channel": "C0123",
        "text": "CRITICAL: Shop is down",
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": "🔴 CRITICAL: Shop is down"},
            },
            {
                "type": "section",
                "text": mrkdwn(
                    "Sells *nothing*.\n3 failures in a row\n"
                    "Last error: Connection refused"
                ),
            },
            {
                "type": "section",
                "fields": [mrkdwn(f"*{n}*\n{v}") for n, v in FACTS.items()],
            },
            {"type": "context", "elements": [mrkdwn(f"<{URL}|Open alert>")]},
        ],
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert taken.reference == "C0123:1772366400.000100"


@pytest.mark.parametrize("broadcast", [False, True])
def test_bot_says_in_the_thread_that_it_is_over(broadcast, bot, deliver):
    _, first = deliver("slack", bot, answer=TOOK)
    # A message of the thread stays in its channel, wherever others go by now.
    moved = bot | {"channel": "C0999", "broadcast": broadcast}

    sent, _ = deliver("slack", moved, resolved(), answer=TOOK, thread=first.reference)

    assert sent.body["channel"] == "C0123"
    assert sent.body["thread_ts"] == "1772366400.000100"
    assert sent.body.get("reply_broadcast", False) is broadcast
    assert sent.body["blocks"][0]["text"]["text"] == "🟢 Resolved: Shop is down"


def test_thread_of_another_service_is_none_of_slack(bot, deliver):
    sent, _ = deliver("slack", bot, answer=TOOK, thread="$event:matrix.test")

    assert "thread_ts" not in sent.body
    assert sent.body["channel"] == "C0123"


def test_webhook_gets_the_same_without_a_thread(receiver, deliver):
    hook = {"url": f"{receiver.url}services/T0/B0/secret"}

    sent, taken = deliver("slack", hook, thread="C0123:1.2")

    assert (sent.method, sent.path) == ("POST", "/services/T0/B0/secret")
    assert set(sent.body) == {"text", "blocks"}
    assert sent.headers["Authorization"] is None
    assert taken.reference == ""


def test_hostile_text_mentions_nobody_and_fits(bot, deliver):
    sent, _ = deliver("slack", bot, hostile(), answer=TOOK)

    header, text, facts, link = sent.body["blocks"]
    assert len(header["text"]["text"]) == 150
    assert len(text["text"]["text"]) <= 3000
    assert text["text"]["text"].endswith("…")
    assert 5 <= len(facts["fields"]) <= 10
    assert all(len(field["text"]) <= 2000 for field in facts["fields"])
    said = [
        sent.body["text"],
        text["text"]["text"],
        *(f["text"] for f in facts["fields"]),
    ]
    assert not any("<" in s or ">" in s for s in said)
    assert "&lt;!channel&gt;" in sent.body["text"]
    assert link["elements"] == [mrkdwn(f"<{URL}|Open alert>")]


def test_news_without_an_alert(bot, deliver):
    sent, _ = deliver("slack", bot, news(), answer=TOOK)

    assert sent.body["text"] == "Test of Chat from Tocsin"
    assert sent.body["blocks"][1]["text"] == mrkdwn("Nothing is wrong.")


@pytest.mark.parametrize("error", ["invalid_auth", "channel_not_found", "ratelimited"])
def test_refusal_in_an_answer_of_200_can_be_mended(error, bot, deliver, receiver):
    receiver.headers = {"Retry-After": "30"}

    with pytest.raises(DeliveryFailed, match=f"200 {error}") as failed:
        deliver("slack", bot, answer={"ok": False, "error": error})

    assert not failed.value.final
    assert failed.value.retry_after == 30


def test_answer_that_is_not_slacks_is_a_refusal(bot, deliver):
    with pytest.raises(DeliveryFailed, match="not one of Slack's"):
        deliver("slack", bot, answer=b"<html>Welcome")


def test_long_answer_is_read_to_its_end(bot, deliver):
    answer = {"message": "x" * 100_000, **TOOK}

    _, taken = deliver("slack", bot, answer=json.dumps(answer).encode())

    assert taken.reference == "C0123:1772366400.000100"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "token"),
        ({"token": "xoxb-1", "url": "https://x.test/"}, "token"),
        ({"token": "xoxb-1"}, "channel"),
        ({"token": "xoxb 1\n", "channel": "C1"}, "token"),
        ({"token": "xoxb-1", "channel": "C1", "api_url": "slack.com"}, "api_url"),
        ({"url": "hooks.slack.com/services/T"}, "url"),
        ({"url": "https://x.test/", "timeout": 0}, "timeout"),
    ],
)
def test_what_is_wrong_with_a_config(config, field, faults):
    assert list(faults("slack", config)) == [field]
