import pytest
from django.test import Client

from outbox.models import Message
from subscriptions import views
from subscriptions.models import Subscriber


@pytest.fixture
def browser():
    """A client that is asked for CSRF tokens as a real one would be."""
    return Client(enforce_csrf_checks=True)


def post(client, email, **more):
    return client.post("/subscribe/", {"email": email}, **more)


def test_form_is_shown(client, db):
    response = client.get("/subscribe/")

    assert response.status_code == 200
    assert b'name="email"' in response.content
    assert not response.cookies


def test_subscribing_asks_the_address_to_confirm(browser, db):
    response = post(browser, "New@Example.org")

    subscriber = Subscriber.objects.get()
    assert response.status_code == 200
    assert b"Look into your inbox" in response.content
    assert (subscriber.email, subscriber.state) == ("new@example.org", "PENDING")
    assert Message.objects.get().destination == "new@example.org"


def test_answer_does_not_tell_who_is_subscribed(browser, reader, asked):
    answers = {
        post(browser, email).content.replace(email.encode(), b"X")
        for email in (reader.email, asked.email, "stranger@example.org")
    }

    assert len(answers) == 1


@pytest.mark.parametrize(
    "email",
    [
        "",
        "no address",
        "a@b",
        "x" * 250 + "@example.org",
        "a@example.org\nBcc: b@c.org",
    ],
)
def test_bad_address_is_refused_with_a_reason(email, browser, db):
    response = post(browser, email)

    assert response.status_code == 400
    assert b'id="email-error"' in response.content
    assert b'aria-invalid="true"' in response.content
    assert not Subscriber.objects.exists()


def test_bad_address_is_kept_in_the_field_and_escaped(browser, db):
    response = post(browser, '"><script>alert(1)</script>')

    assert b"&quot;&gt;&lt;script&gt;" in response.content
    assert b"<script>alert" not in response.content


def test_stranger_cannot_flood_many_addresses(browser, db):
    answers = [
        post(browser, f"a{n}@example.org").status_code
        for n in range(views.MOST_AN_HOUR + 1)
    ]

    assert set(answers[:-1]) == {200}
    assert answers[-1] == 429
    assert Message.objects.count() == views.MOST_AN_HOUR


def test_too_many_are_told_when_to_come_back(browser, db, monkeypatch):
    monkeypatch.setattr(views, "MOST_AN_HOUR", 0)

    response = post(browser, "a@example.org")

    assert response.headers["Retry-After"] == "3600"
    assert b"Try again in an hour" in response.content
    assert b"a@example.org" in response.content


def test_other_clients_are_not_held_up(browser, db, monkeypatch):
    monkeypatch.setattr(views, "MOST_AN_HOUR", 1)
    post(browser, "a@example.org", REMOTE_ADDR="192.0.2.1")

    refused = post(browser, "b@example.org", REMOTE_ADDR="192.0.2.1")
    taken = post(browser, "c@example.org", REMOTE_ADDR="198.51.100.7")

    assert (refused.status_code, taken.status_code) == (429, 200)


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "1.1.1.1, 8.8.8.8", "8.8.8.8"),
        ("8.8.4.4", "1.1.1.1", "8.8.4.4"),
        ("127.0.0.1", "rubbish", "unknown"),
        ("2606:4700::1:2", "", "2606:4700::/64"),
        ("", "", "unknown"),
    ],
)
def test_client_is_who_our_own_proxy_says(address, forwarded, client, rf):
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = rf.get("/subscribe/", headers=headers, REMOTE_ADDR=address)

    assert views._client(request) == client


def test_opening_the_link_does_not_confirm(client, asked):
    response = client.get(f"/subscribe/confirm/{asked.token}/")

    asked.refresh_from_db()
    assert response.status_code == 200
    assert b"Confirm my subscription" in response.content
    assert asked.state == Subscriber.State.PENDING
    assert "no-store" in response.headers["Cache-Control"]


def test_pressing_the_button_confirms(browser, asked):
    response = browser.post(f"/subscribe/confirm/{asked.token}/")

    asked.refresh_from_db()
    assert b"You are subscribed" in response.content
    assert asked.state == Subscriber.State.CONFIRMED


def test_confirmed_link_says_so(client, reader):
    response = client.get(f"/subscribe/confirm/{reader.token}/")

    assert b"You are subscribed" in response.content


def test_opening_the_way_out_does_not_unsubscribe(client, reader):
    response = client.get(f"/unsubscribe/{reader.token}/")

    reader.refresh_from_db()
    assert b"Unsubscribe?" in response.content
    assert reader.state == Subscriber.State.CONFIRMED


def test_mail_program_unsubscribes_with_one_post(browser, reader):
    response = browser.post(
        f"/unsubscribe/{reader.token}/", {"List-Unsubscribe": "One-Click"}
    )

    reader.refresh_from_db()
    assert response.status_code == 200
    assert not response.cookies
    assert reader.state == Subscriber.State.UNSUBSCRIBED


def test_one_click_works_as_multipart_and_urlencoded(browser, reader):
    response = browser.post(
        f"/unsubscribe/{reader.token}/",
        "List-Unsubscribe=One-Click",
        content_type="application/x-www-form-urlencoded",
    )

    assert response.status_code == 200
    assert Subscriber.objects.get().state == Subscriber.State.UNSUBSCRIBED


def test_unsubscribing_offers_the_way_back(browser, reader):
    page = browser.post(f"/unsubscribe/{reader.token}/")
    again = f"/subscribe/confirm/{reader.token}/"
    assert again.encode() in page.content

    browser.post(again)

    reader.refresh_from_db()
    assert reader.state == Subscriber.State.CONFIRMED


@pytest.mark.parametrize("path", ["subscribe/confirm", "unsubscribe"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_unknown_link_is_answered_kindly(path, method, browser, db):
    response = getattr(browser, method)(f"/{path}/no-such-token/")

    assert response.status_code == 404
    assert b"This link is no longer known" in response.content
    assert b"subscribe again" in response.content


@pytest.mark.parametrize("path", ["subscribe/", "unsubscribe/x/"])
def test_other_methods_are_refused(path, browser, db):
    assert browser.put(f"/{path}").status_code == 405
