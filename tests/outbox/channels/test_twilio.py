import base64

import pytest

from outbox.channels import DeliveryFailed

from .notices import TEXT, URL, hostile, resolved

ACCOUNT, SERVICE = "AC" + "0" * 32, "MG" + "1" * 32


@pytest.fixture
def phone(receiver):
    return {
        "account_sid": ACCOUNT,
        "auth_token": "secret",
        "sender": "+15005550006",
        "to": "+4915112345678",
        "api_url": receiver.url,
    }


def test_alert_is_a_text_message(phone, deliver):
    sent, _ = deliver("twilio", phone, status=201, answer={"sid": "SM1"})

    login = base64.b64encode(f"{ACCOUNT}:secret".encode()).decode()
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert (sent.method, sent.path) == ("POST", path)
    assert sent.headers["Authorization"] == f"Basic {login}"
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.body == {
        "To": "+4915112345678",
        "From": "+15005550006",
        "Body": f"CRITICAL: Shop is down\n{TEXT}\n{URL}",
    }


def test_messaging_service_chooses_the_number(phone, deliver):
    sent, _ = deliver("twilio", phone | {"sender": SERVICE})

    assert sent.body["MessagingServiceSid"] == SERVICE
    assert "From" not in sent.body


def test_resolved_alert_is_a_message_of_its_own(phone, deliver):
    sent, _ = deliver("twilio", phone, resolved(), thread="SM1")

    assert sent.body["Body"].startswith("Resolved: Shop is down\n")


def test_hostile_text_stays_in_its_field_and_fits(phone, deliver):
    sent, _ = deliver("twilio", phone, hostile())

    assert set(sent.body) == {"To", "From", "Body"}
    assert len(sent.body["Body"].encode("utf-16-le")) // 2 <= 1600
    assert sent.body["Body"].endswith(f"…\n{URL}")
    assert "<script>" in sent.body["Body"]


@pytest.mark.parametrize(("status", "final"), [(400, True), (401, False), (429, False)])
def test_refusal(status, final, phone, deliver):
    with pytest.raises(DeliveryFailed, match="21211") as failed:
        deliver("twilio", phone, status=status, answer={"code": 21211})

    assert failed.value.final is final


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"account_sid": "AC1/../2"}, "account_sid"),
        ({"auth_token": ""}, "auth_token"),
        ({"sender": "a name that is too long"}, "sender"),
        ({"to": "0151 1234567"}, "to"),
        ({"to": "+15005550006,+15005550007"}, "to"),
        ({"api_url": "x"}, "api_url"),
    ],
)
def test_what_is_wrong_with_a_config(more, field, phone, faults):
    assert list(faults("twilio", phone | more)) == [field]
