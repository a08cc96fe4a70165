import re
from html import unescape

import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, URL, hostile, news, resolved

TOOK = {"ok": True, "result": {"message_id": 42}}


@pytest.fixture
def bot(receiver):
    return {"token": "12:secret", "chat_id": "-100", "api_url": receiver.url}


def test_alert_in_html(bot, deliver):
    sent, taken = deliver("telegram", bot, answer=TOOK)

    facts = "\n".join(f"<b>{name}:</b> {value}" for name, value in FACTS.items())
    assert (sent.method, sent.path) == ("POST", "/bot12:secret/sendMessage")
    assert sent.body == {
        "chat_id": "-100",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
        "text": "<b>🔴 CRITICAL: Shop is down</b>\n\n"
        "Sells *nothing*.\n3 failures in a row\nLast error: Connection refused\n\n"
        f'{facts}\n\n<a href="{URL}">Open alert</a>',
    }
    assert taken.reference == "42"


def test_resolved_alert_replies_in_its_topic(bot, deliver):
    sent, _ = deliver(
        "telegram", bot | {"topic_id": 9}, resolved(), answer=TOOK, thread="42"
    )

    assert sent.body["reply_parameters"] == {
        "message_id": 42,
        "allow_sending_without_reply": True,
    }
    assert sent.body["message_thread_id"] == 9
    assert sent.body["text"].startswith("<b>🟢 Resolved: Shop is down</b>")


def test_thread_of_another_service_is_none_of_telegram(bot, deliver):
    sent, _ = deliver("telegram", bot, answer=TOOK, thread="C0123:1.2")

    assert "reply_parameters" not in sent.body


def test_hostile_text_is_no_markup_and_fits(bot, deliver):
    sent, _ = deliver("telegram", bot, hostile(), answer=TOOK)

    text = sent.body["text"]
    assert len(text.encode("utf-16-le")) // 2 <= 4096
    assert set(re.findall("<[^>]*>", text)) == {
        "<b>",
        "</b>",
        "</a>",
        f'<a href="{URL}">',
    }
    assert not re.search("&(?!amp;|lt;|gt;)", text)
    assert "<script>alert(1)</script> & &amp;" in unescape(text)


def test_news_without_an_alert(bot, deliver):
    sent, _ = deliver("telegram", bot, news(), answer=TOOK)

    assert sent.body["text"] == (
        "<b>🔵 Test of Chat from Tocsin</b>\n\nNothing is wrong.\n\n"
        '<a href="http://tocsin.test">Open Tocsin</a>'
    )


@pytest.mark.parametrize(
    ("status", "answer", "wait"),
    [
        (400, {"ok": False, "description": "Bad Request: chat not found"}, None),
        (429, {"ok": False, "parameters": {"retry_after": 35}}, 35),
        (200, {"ok": False, "description": "no"}, None),
        (200, b"<html>", None),
    ],
)
def test_refusal_can_be_mended(status, answer, wait, bot, deliver):
    with pytest.raises(DeliveryFailed, match=str(status)) as failed:
        deliver("telegram", bot, status=status, answer=answer)

    assert (failed.value.final, failed.value.retry_after) == (False, wait)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"token": "secret"}, "token"),
        ({"token": "12:a/../b"}, "token"),
        ({"chat_id": "Operators"}, "chat_id"),
        ({"topic_id": -1}, "topic_id"),
        ({"api_url": "api.telegram.org"}, "api_url"),
    ],
)
def test_what_is_wrong_with_a_config(more, field, bot, faults):
    assert list(faults("telegram", bot | more)) == [field]
