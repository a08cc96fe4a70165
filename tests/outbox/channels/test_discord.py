import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, URL, hostile, resolved

TOOK = {"id": "111", "channel_id": "222"}


@pytest.fixture
def hook(receiver):
    return {"url": f"{receiver.url}api/webhooks/1/secret"}


def test_alert_is_an_embed(hook, deliver):
    sent, taken = deliver("discord", hook, answer=TOOK)

    assert (sent.method, sent.path) == ("POST", "/api/webhooks/1/secret?wait=true")
    assert sent.body == {
        "content": "🔴 CRITICAL: Shop is down",
        "embeds": [
            {
                "color": 0xC62828,
                "title": "Open alert",
                "url": URL,
                "description": "Sells \\*nothing\\*.\n3 failures in a row\n"
                "Last error: Connection refused",
                "fields": [
                    {"name": name, "value": value, "inline": True}
                    for name, value in FACTS.items()
                ],
            }
        ],
        "allowed_mentions": {"parse": []},
    }
    assert taken.reference == ""


def test_resolved_alert_follows_without_a_thread(hook, deliver):
    sent, _ = deliver("discord", hook, resolved(), answer=TOOK, thread="222")

    assert sent.path == "/api/webhooks/1/secret?wait=true"
    assert sent.body["content"] == "🟢 Resolved: Shop is down"
    assert sent.body["embeds"][0]["color"] == 0x2E7D32


def test_forum_has_one_post_for_an_alert(hook, deliver):
    forum = hook | {"forum": True}

    first, taken = deliver("discord", forum, answer=TOOK)
    after, _ = deliver(
        "discord", forum, resolved(), answer=TOOK, thread=taken.reference
    )

    assert first.body["thread_name"] == "CRITICAL: Shop is down"
    assert "thread_id" not in first.path
    assert after.path == "/api/webhooks/1/secret?wait=true&thread_id=222"
    assert "thread_name" not in after.body


def test_one_thread_for_everything(hook, deliver):
    sent, _ = deliver("discord", hook | {"thread_id": "333"}, answer=TOOK)

    assert sent.path == "/api/webhooks/1/secret?wait=true&thread_id=333"


def test_hostile_text_mentions_nobody_and_fits(hook, deliver):
    sent, _ = deliver("discord", hook | {"forum": True}, hostile(), answer=TOOK)

    (embed,) = sent.body["embeds"]
    assert sent.body["allowed_mentions"] == {"parse": []}
    assert len(sent.body["content"]) <= 2000
    assert len(sent.body["thread_name"]) == 100
    assert len(embed["description"]) <= 4096
    assert all(len(field["value"]) <= 1024 for field in embed["fields"])
    texts = [embed["title"], embed["description"]]
    texts += [field[part] for field in embed["fields"] for part in ("name", "value")]
    assert sum(len(text.encode("utf-16-le")) // 2 for text in texts) <= 6000
    for text in (sent.body["content"], embed["description"]):
        bare = text.replace("\\\\", "")
        for mark in "*_`~|<>[]#":
            assert bare.count(mark) == bare.count("\\" + mark) > 0, mark


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (401, False), (404, False), (429, False)]
)
def test_refusal(status, final, hook, deliver, receiver):
    receiver.headers = {"Retry-After": "2"}

    with pytest.raises(DeliveryFailed, match=str(status)) as failed:
        deliver("discord", hook, status=status, answer={"message": "no"})

    assert (failed.value.final, failed.value.retry_after) == (final, 2)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": "discord.com/api/webhooks/1/x"}, "url"),
        ({"thread_id": "general"}, "thread_id"),
        ({"thread_id": "1", "forum": True}, "thread_id"),
        ({"timeout": 31}, "timeout"),
    ],
)
def test_what_is_wrong_with_a_config(more, field, hook, faults):
    assert list(faults("discord", hook | more)) == [field]
