import re

import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, KEY, THREAD_KEY, URL, hostile, news, resolved

TOOK = {"name": "spaces/A/messages/B", "thread": {"name": "spaces/A/threads/C"}}
PATH = "/v1/spaces/A/messages?key=k%2B1&token=secret"


@pytest.fixture
def space(receiver):
    return {"url": receiver.url.rstrip("/") + PATH}


def test_alert_begins_a_thread(space, deliver):
    sent, _ = deliver("google_chat", space, answer=TOOK)

    assert (sent.method, sent.path) == (
        "POST",
        f"{PATH}&requestId={KEY}"
        "&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD",
    )
    button = {"text": "Open alert", "onClick": {"openLink": {"url": URL}}}
    assert sent.body == {
        "thread": {"threadKey": THREAD_KEY},
        "fallbackText": "🔴 CRITICAL: Shop is down",
        "cardsV2": [
            {
                "cardId": "tocsin",
                "card": {
                    "sections": [
                        {
                            "widgets": [
                                {
                                    "textParagraph": {
                                        "text": "<b>🔴 CRITICAL: Shop is down</b>"
                                    }
                                },
                                {
                                    "textParagraph": {
                                        "text": "Sells *nothing*.<br>3 failures in a "
                                        "row<br>Last error: Connection refused"
                                    }
                                },
                                *(
                                    {
                                        "decoratedText": {
                                            "topLabel": name,
                                            "text": value,
                                            "wrapText": True,
                                        }
                                    }
                                    for name, value in FACTS.items()
                                ),
                                {"buttonList": {"buttons": [button]}},
                            ]
                        }
                    ]
                },
            }
        ],
    }


def test_resolved_alert_is_in_the_same_thread(space, deliver):
    sent, _ = deliver("google_chat", space, resolved(), answer=TOOK)

    assert sent.body["thread"] == {"threadKey": THREAD_KEY}
    assert "FALLBACK_TO_NEW_THREAD" in sent.path
    assert sent.body["fallbackText"] == "🟢 Resolved: Shop is down"


def test_news_begin_no_thread(space, deliver):
    sent, _ = deliver("google_chat", space, news(), topic="")

    assert "thread" not in sent.body
    assert sent.path == f"{PATH}&requestId={KEY}"


def test_hostile_text_is_no_markup_and_fits(space, deliver):
    sent, _ = deliver("google_chat", space, hostile())

    (section,) = sent.body["cardsV2"][0]["card"]["sections"]
    said = [
        part["text"]
        for widget in section["widgets"]
        for name, part in widget.items()
        if name != "buttonList"
    ]
    assert len(sent.raw) <= 32_000
    assert set(re.findall("<[^>]*>", "".join(said))) == {"<b>", "</b>", "<br>"}
    assert not re.search("&(?!amp;|lt;|gt;)", "".join(said))
    assert "<users" not in sent.body["fallbackText"]
    assert "users/all" in sent.body["fallbackText"]


def test_refusal(space, deliver):
    with pytest.raises(DeliveryFailed, match="403") as failed:
        deliver("google_chat", space, status=403, answer={"error": {"code": 403}})

    assert not failed.value.final


def test_what_is_wrong_with_a_config(faults):
    assert list(faults("google_chat", {"url": "chat.googleapis.com"})) == ["url"]
