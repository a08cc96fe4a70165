from outbox.models import Message
from subscriptions.models import Subscriber


def test_added_address_needs_no_confirming(api):
    answer = api.post("/api/v1/subscribers/", {"email": " Ana@Example.org "})

    assert answer.status_code == 201
    assert (
        answer.json().items()
        >= {
            "email": "ana@example.org",
            "state": "CONFIRMED",
            "unsubscribed_at": None,
        }.items()
    )
    assert not Message.objects.exists()


def test_address_added_twice_is_one_subscriber(api):
    once = api.post("/api/v1/subscribers/", {"email": "ana@example.org"})
    twice = api.post("/api/v1/subscribers/", {"email": "ANA@example.org"})

    assert twice.status_code == 201
    assert twice.json() == once.json()


def test_deleted_subscriber_is_unsubscribed(api):
    path = f"/api/v1/subscribers/{Subscriber.objects.create(email='a@b.org').pk}/"

    assert api.delete(path).status_code == 204
    assert api.delete(path).status_code == 204
    assert api.get(path).json()["state"] == "UNSUBSCRIBED"


def test_unfit_address_is_refused(api):
    for email in ("nobody", "a@b", "", None, 7, "a" * 250 + "@example.org"):
        answer = api.post("/api/v1/subscribers/", {"email": email})

        assert answer.status_code == 400
        assert list(answer.json()["errors"]) == ["email"]


def test_token_is_not_shown(api):
    subscriber = Subscriber.objects.create(email="ana@example.org")

    assert subscriber.token not in api.get("/api/v1/subscribers/").content.decode()


def test_subscribers_are_filtered(api):
    api.post("/api/v1/subscribers/", {"email": "ana@example.org"})
    Subscriber.objects.create(email="bob@example.org")

    def emails(query):
        found = api.get(f"/api/v1/subscribers/?{query}").json()["results"]
        return [subscriber["email"] for subscriber in found]

    assert emails("") == ["bob@example.org", "ana@example.org"]
    assert emails("state=CONFIRMED") == ["ana@example.org"]
    assert emails("email=BOB@example.org") == ["bob@example.org"]


def test_state_cannot_be_written(api):
    answer = api.post(
        "/api/v1/subscribers/", {"email": "ana@example.org", "state": "PENDING"}
    )

    assert answer.json()["errors"] == {"state": ["This field is read-only."]}
