import json
from datetime import UTC, datetime

import pytest
import time_machine
from standardwebhooks import Webhook

from egress.kinds import ConfigInvalid, as_config, build, masked, unmasked
from outbox.channels import Content, DeliveryFailed, Envelope
from outbox.channels.webhook import WebhookChannel

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = datetime.now(UTC)
KEY = "2f1b3c1e-6d5e-4c7e-9b0a-0d4c5e6f7a8b"
CONTENT = Content(
    subject="CRITICAL: Web Shop",
    values={"type": "alert.triggered", "monitor": {"name": "Shop"}},
    variables={"alert_message": 'He said "no"\nand left', "alert_id": 7},
)


def envelope():
    return Envelope(key=KEY, destination="", created_at=AT, attempted_at=AT)


@pytest.fixture
def send(receiver):
    """Send content through a webhook with this config; return what arrived."""

    def send(content=CONTENT, **config):
        channel = build(
            WebhookChannel, {"url": receiver.url, "secret": SECRET, **config}
        )
        channel.deliver(content, envelope())
        return receiver.requests[-1]

    return send


def test_everything_is_sent_as_json_unless_told_otherwise(send):
    method, _, headers, body = send()

    assert (method, headers["Content-Type"]) == ("POST", "application/json")
    assert json.loads(body) == CONTENT.values
    assert headers["User-Agent"].startswith("Tocsin/")


def test_body_of_ones_own_names_variables_and_values(send):
    _, _, headers, body = send(
        body='{"text": "{{alert_message}}", "id": {{alert_id}}, "m": "{{monitor.name}}"}'
    )

    assert json.loads(body) == {
        "text": 'He said "no"\nand left',
        "id": 7,
        "m": "Shop",
    }
    # What is signed is what is sent.
    with time_machine.travel(AT, tick=False):  # the signature holds for five minutes
        assert Webhook(SECRET).verify(body, dict(headers))["id"] == 7


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_method_is_as_chosen(send, method):
    sent = send(method=method)

    assert sent[0] == method
    assert json.loads(sent[3]) == CONTENT.values


def test_get_carries_nothing_and_is_signed(send):
    method, _, headers, body = send(method="GET")

    assert (method, body) == ("GET", b"")
    assert "Content-Type" not in headers
    # Their library reads JSON from what it verifies, and there is none.
    made = Webhook(SECRET).sign(KEY, AT, "")
    assert headers["webhook-signature"] == made


def test_headers_of_ones_own_come_first_however_they_are_written(send):
    _, _, headers, body = send(
        headers={
            "authorization": "Bearer abc",
            "content-TYPE": "text/plain",
            "user-agent": "Ours",
        },
        body="{{alert_message}}",
    )

    assert headers.get_all("Authorization") == ["Bearer abc"]
    assert headers.get_all("Content-Type") == ["text/plain"]
    assert headers.get_all("User-Agent") == ["Ours"]
    assert body == b'He said "no"\nand left'


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("application/json; charset=utf-8", "json"),
        ("application/vnd.api+json", "json"),
        ("text/plain", "text"),
        ("text/xml", "html"),
        ("application/soap+xml", "html"),
        ("application/x-www-form-urlencoded", "url"),
    ],
)
def test_content_type_says_how_values_are_escaped(kind, form):
    channel = WebhookChannel(url="http://a.example/", headers={"Content-Type": kind})

    assert channel.form == form


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        (
            {"url": "http://a/{{alert_id}}"},
            {"url": "An address holds no {{variables}}"},
        ),
        (
            {"method": "TRACE"},
            {"method": "Choose one of POST, PUT, PATCH, GET, DELETE"},
        ),
        ({"headers": {"Host": "b"}}, {"headers": "Host is set by Tocsin"}),
        ({"headers": {"webhook-ID": "b"}}, {"headers": "webhook-ID is set by Tocsin"}),
        ({"headers": {"A B": "c"}}, {"headers": "'A B' is no name of a header."}),
        ({"headers": {"A": "b\nC: d"}}, {"headers": "The value of A may hold"}),
        ({"headers": {"A": "ü"}}, {"headers": "The value of A may hold"}),
        ({"headers": {"A": ""}}, {"headers": "A has no value"}),
        ({"headers": {"A": "b", "a": "c"}}, {"headers": "A header is there twice"}),
        ({"headers": {"A": 1}}, {"headers": "Give a text."}),
        ({"body": '{"a": {{#x}}}'}, {"body": "Line 1: The section x is not closed"}),
        ({"body": '{\n"a": "{{x}}'}, {"body": "Line 2: This makes no JSON"}),
        ({"body": "{}", "method": "GET"}, {"body": "A GET carries no body"}),
    ],
)
def test_unfit_config_is_refused_at_its_field(config, errors):
    with pytest.raises(ConfigInvalid) as refused:
        build(WebhookChannel, {"url": "http://a.example/", **config})

    assert refused.value.errors.keys() == errors.keys()
    for name, said in errors.items():
        assert said in refused.value.errors[name]


def test_values_of_headers_are_secrets():
    stored = as_config(
        WebhookChannel(url="http://a.example/", headers={"Authorization": "Bearer abc"})
    )

    shown = masked(WebhookChannel, stored)
    back = unmasked(
        WebhookChannel,
        {**shown, "headers": {**shown["headers"], "X-Team": "ops"}},
        stored,
    )

    assert shown["headers"] == {"Authorization": "***"}
    assert back["headers"] == {"Authorization": "Bearer abc", "X-Team": "ops"}


def test_body_that_cannot_be_made_waits_for_the_mend(receiver):
    channel = WebhookChannel(url=receiver.url, body='{"a": "{{long}}"}')
    long = Content(variables={"long": "x" * 200_001})

    with pytest.raises(DeliveryFailed, match="The body's template: Line 1") as failed:
        channel.deliver(long, envelope())

    assert not failed.value.final
    assert not receiver.requests
