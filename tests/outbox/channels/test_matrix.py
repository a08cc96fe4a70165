import re

import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, KEY, TEXT, URL, hostile, resolved

TOOK = {"event_id": "$first"}
PATH = "/_matrix/client/v3/rooms/%21a%2Fb%3Amatrix.test/send/m.room.message/"


@pytest.fixture
def room(receiver):
    return {"url": receiver.url, "token": "secret", "room": "!a/b:matrix.test"}


def test_alert_begins_a_thread(room, deliver):
    sent, taken = deliver("matrix", room, answer=TOOK)

    facts = "\n".join(f"{name}: {value}" for name, value in FACTS.items())
    html = "<br>".join(f"<b>{name}:</b> {value}" for name, value in FACTS.items())
    assert (sent.method, sent.path) == ("PUT", f"{PATH}{KEY}")
    assert sent.headers["Authorization"] == "Bearer secret"
    assert sent.body == {
        "msgtype": "m.text",
        "body": f"🔴 CRITICAL: Shop is down\n\n{TEXT}\n\n{facts}\n\n{URL}",
        "format": "org.matrix.custom.html",
        "formatted_body": "<p><strong>🔴 CRITICAL: Shop is down</strong></p>"
        f"<p>{TEXT.replace(chr(10), '<br>')}</p><p>{html}</p>"
        f'<p><a href="{URL}">Open alert</a></p>',
        "m.mentions": {},
    }
    assert taken.reference == "$first"


def test_resolved_alert_is_in_the_thread(room, deliver):
    sent, _ = deliver("matrix", room, resolved(), answer=TOOK, thread="$first")
    stranger, _ = deliver("matrix", room, resolved(), answer=TOOK, thread="42")

    assert sent.body["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$first",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$first"},
    }
    assert sent.body["body"].startswith("🟢 Resolved: Shop is down")
    assert "m.relates_to" not in stranger.body


def test_hostile_text_is_no_markup_and_fits(room, deliver):
    sent, _ = deliver("matrix", room, hostile(), answer=TOOK)

    html = sent.body["formatted_body"]
    assert len(sent.raw) < 60_000
    assert set(re.findall("<[^>]*>", html)) == {
        *("<p>", "</p>", "<strong>", "</strong>", "<b>", "</b>", "<br>", "</a>"),
        f'<a href="{URL}">',
    }
    assert not re.search("&(?!amp;|lt;|gt;)", html)
    assert "@room" in sent.body["body"]
    assert sent.body["m.mentions"] == {}


def test_refusal(room, deliver):
    with pytest.raises(DeliveryFailed, match="M_FORBIDDEN") as failed:
        deliver("matrix", room, status=403, answer={"errcode": "M_FORBIDDEN"})
    assert not failed.value.final

    with pytest.raises(DeliveryFailed, match="429") as failed:
        deliver("matrix", room, status=429, answer={"retry_after_ms": 2500})
    assert failed.value.retry_after == 2.5

    with pytest.raises(DeliveryFailed, match="names no event"):
        deliver("matrix", room, answer=b"<html>")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": "matrix.test"}, "url"),
        ({"token": ""}, "token"),
        ({"room": "#alias:matrix.test"}, "room"),
    ],
)
def test_what_is_wrong_with_a_config(more, field, room, faults):
    assert list(faults("matrix", room | more)) == [field]
