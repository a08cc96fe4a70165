"""What holds for every channel that is not a mail."""

import dataclasses
import json
import re

import pytest

from egress.kinds import build, secret_names, secrets_of
from outbox.channels import CHANNELS, DeliveryFailed

from .notices import envelope, hostile, news

HOOK = {"url": "URLhook/very-secret?sig=very-secret"}
CONFIGS = {
    "webhook": HOOK,
    "slack": {"token": "very-secret", "channel": "C1", "api_url": "URL"},
    "discord": HOOK,
    "teams": HOOK,
    "telegram": {"token": "1:very-secret", "chat_id": "-1", "api_url": "URL"},
    "google_chat": HOOK,
    "mattermost": {"token": "very-secret", "channel_id": "c" * 26, "api_url": "URL"},
    "matrix": {"url": "URL", "token": "very-secret", "room": "!a:b"},
    "ntfy": {"url": "URL", "topic": "very-secret", "token": "very-secret"},
    "gotify": {"url": "URL", "token": "very-secret"},
    "pushover": {"token": "s" * 30, "user": "u" * 30, "api_url": "URL"},
    "pagerduty": {"routing_key": "s" * 32, "url": "URL"},
    "opsgenie": {"api_key": "very-secret", "url": "URL"},
    "twilio": {
        "account_sid": "AC" + "0" * 32,
        "auth_token": "very-secret",
        "sender": "+15005550006",
        "to": "+15005550006",
        "api_url": "URL",
    },
    "apprise": {"url": "JSONvery-secret"},
}
# An answer that every service takes for its yes.
TOOK = {"ok": True, "status": 1, "event_id": "$1"}


@pytest.fixture(params=sorted(CONFIGS))
def channel(request, receiver):
    if request.param == "apprise":
        request.getfixturevalue("apprise")
    receiver.body = json.dumps(TOOK).encode()
    at = {"URL": receiver.url, "JSON": receiver.url.replace("http", "json")}
    config = {
        name: re.sub("URL|JSON", lambda found: at[found[0]], value)
        for name, value in CONFIGS[request.param].items()
    }
    return build(CHANNELS[request.param], config)


def test_every_channel_is_tried_here():
    assert set(CONFIGS) == set(CHANNELS) - {"email"}


@pytest.fixture
def content(channel):
    """Hostile, and with half a surrogate pair, of which a webhook makes no text."""
    return hostile(surrogate=type(channel) is not CHANNELS["webhook"])


def test_hostile_content_is_sent_as_what_it_says_it_is(channel, content, sent):
    channel.deliver(content, envelope())

    request = sent()
    assert request.body
    assert "very-secret" not in str(request.headers["Idempotency-Key"])
    assert "script" not in str(request.headers) + request.path
    assert b"\x00" not in request.raw
    assert b"\x1b" not in request.raw


def test_content_without_an_alert_says_its_subject_and_text(channel, sent):
    channel.deliver(news("Hello there", "Something happened", "other"), envelope())

    said = str(sent().body)
    if type(channel) is CHANNELS["webhook"]:
        assert "other" in said  # it sends values, which hold whatever there is
    else:
        assert "Hello there" in said
        assert "Something happened" in said


def test_test_says_that_it_is_one(channel, sent):
    channel.deliver(news("Hello there", kind="test"), envelope(topic=""))

    assert re.search("Test: Hello there|'type': 'test'", str(sent().body))


def test_secrets_are_in_no_destination_and_no_failure(channel, content, receiver):
    receiver.status = 500
    secrets = secrets_of(channel)

    with pytest.raises(DeliveryFailed) as failed:
        channel.deliver(content, envelope())

    assert secrets
    for said in (channel.destination(), str(failed.value)):
        assert "very-secret" not in said
        assert not any(secret in said for secret in secrets)
    assert channel.destination()


def test_nobody_there_is_a_failure_that_passes(channel, receiver):
    receiver.close()

    with pytest.raises(DeliveryFailed) as failed:
        channel.deliver(news(), envelope())

    assert not failed.value.final
    assert "very-secret" not in str(failed.value)
    receiver.close = lambda: None


@pytest.mark.parametrize("kind", sorted(CHANNELS))
def test_what_sounds_secret_is_marked_so(kind):
    sounds = {
        field.name
        for field in dataclasses.fields(CHANNELS[kind])
        if re.search("token|key|secret|password", field.name)
    }

    assert sounds <= secret_names(CHANNELS[kind])
