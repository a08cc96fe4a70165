import pytest
from django.utils import timezone

from access.models import ApiKey
from alerting.models import Alert
from monitors.models import Label


def ids(api, query):
    answer = api.get(f"/api/v1/alerts/?{query}")
    assert answer.status_code == 200, answer.json()
    return [alert["id"] for alert in answer.json()["results"]]


@pytest.fixture
def two(make_monitor, make_rule, triggered):
    """Two alerts: a newer one, and one that was triggered long ago."""
    shop, bank = make_monitor("shop"), make_monitor("bank")
    shop.label([Label.objects.create(name="payments")])
    rule = make_rule(shop, bank)
    old, new = triggered(rule, shop), triggered(rule, bank)
    Alert.objects.filter(pk=old.pk).update(triggered_at="2026-03-01T12:00:00Z")
    return old, new


def test_alerts_are_filtered_by_time(api, two):
    old, new = two

    assert ids(api, "since=2026-03-01T12:00:00Z&until=2026-03-02T00:00:00Z") == [old.pk]
    assert ids(api, "until=2026-03-01T12:00:00Z") == []
    assert ids(api, "since=2026-03-01T12:00:01Z") == [new.pk]
    assert api.get("/api/v1/alerts/?since=lately").status_code == 400


def test_alerts_are_filtered_by_acknowledgement_and_label(api, two):
    old, new = two
    old.acknowledge(by="ana", at=timezone.now())

    assert ids(api, "acknowledged=true") == [old.pk]
    assert ids(api, "acknowledged=false") == [new.pk]
    assert ids(api, "label=payments") == [old.pk]
    assert ids(api, "label=nobody") == []
    assert api.get("/api/v1/alerts/?acknowledged=perhaps").status_code == 400


def test_alert_says_what_keeps_it_back_and_who_minds_it(api, two):
    _, new = two
    Alert.objects.filter(pk=new.pk).update(withheld="silence", reminders=2)

    shown = api.get(f"/api/v1/alerts/{new.pk}/").json()

    assert (shown["withheld"], shown["reminders"]) == ("silence", 2)
    assert (shown["acknowledged_at"], shown["note"], shown["unit"]) == (
        None,
        "",
        "CHECKS",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "alerts/{pk}/acknowledge/"),
        ("post", "alerts/{pk}/unacknowledge/"),
        ("post", "silences/"),
    ],
)
def test_who_may_only_read_changes_nothing(client, two, method, path):
    _, new = two
    key = ApiKey(name="reader", scopes=["alerting:read", "monitors:read"]).issue()
    header = {"HTTP_AUTHORIZATION": f"Bearer {key}"}

    address = f"/api/v1/{path.format(pk=new.pk)}"
    answer = getattr(client, method)(
        address, "{}", content_type="application/json", **header
    )

    assert answer.status_code == 403
    assert client.get("/api/v1/silences/", **header).status_code == 200
    assert client.get("/api/v1/decisions/", **header).status_code == 200
    assert client.get("/api/v1/monitors/shop/why/", **header).status_code == 200
