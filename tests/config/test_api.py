import json
import logging
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey, every_scope
from monitors.models import Monitor
from subscriptions.models import Subscriber

LISTS = [
    "monitors",
    "alert-rules",
    "triggers",
    "alerts",
    "incidents",
    "messages",
    "subscribers",
]


@pytest.fixture
def client_with(db):
    def client_with(*scopes, **more):
        client = APIClient()
        key = ApiKey(name="tests", scopes=list(scopes), **more).issue()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        return client

    return client_with


def assert_problem(answer, status):
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    return body


# Keys and scopes


@pytest.mark.parametrize("name", LISTS)
def test_list_needs_a_key(client, name):
    answer = client.get(f"/api/v1/{name}/")

    assert_problem(answer, 401)
    assert answer["WWW-Authenticate"] == 'Bearer realm="tocsin"'


@pytest.mark.django_db
@pytest.mark.parametrize(
    "key", ["", "toc_", "toc_1234_", "toc_12\x0034_x", "toc_1234_é", "x", "Bearer"]
)
def test_wrong_key_is_refused(client, key):
    answer = client.get("/api/v1/monitors/", headers={"Authorization": f"Bearer {key}"})

    assert_problem(answer, 401)
    assert answer["WWW-Authenticate"] == 'Bearer realm="tocsin"'


def test_revoked_or_expired_key_is_refused(client_with):
    now = timezone.now()
    assert_problem(client_with(revoked_at=now).get("/api/v1/monitors/"), 401)
    assert_problem(client_with(expires_at=now).get("/api/v1/monitors/"), 401)
    tomorrow = now + timedelta(days=1)
    client = client_with("monitors:read", expires_at=tomorrow)
    assert client.get("/api/v1/monitors/").status_code == 200


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("monitors", "monitors:read"),
        ("alert-rules", "alerting:read"),
        ("triggers", "alerting:read"),
        ("alerts", "alerting:read"),
        ("incidents", "incidents:read"),
        ("messages", "messages:read"),
        ("subscribers", "subscribers:read"),
    ],
)
def test_refusal_names_the_scope_that_lacks(client_with, name, scope):
    others = [other for other in every_scope() if other[:6] != scope[:6]]

    body = assert_problem(client_with(*others).get(f"/api/v1/{name}/"), 403)

    assert body["detail"] == f"This key lacks the scope {scope}."
    assert client_with(scope).get(f"/api/v1/{name}/").status_code == 200


def test_scope_to_write_is_needed_to_write(client_with):
    body = assert_problem(client_with("monitors:read").post("/api/v1/monitors/"), 403)

    assert body["detail"] == "This key lacks the scope monitors:write."
    assert client_with("monitors:write").get("/api/v1/monitors/").status_code == 200


def test_superuser_who_is_logged_in_needs_no_key(admin):
    assert admin.get("/api/v1/monitors/").status_code == 200
    answer = admin.post(
        "/api/v1/subscribers/", {"email": "a@b.org"}, content_type="application/json"
    )
    assert answer.status_code == 201


def test_other_staff_need_a_key(django_user_model):
    staff = django_user_model.objects.create_user("bob", is_staff=True)
    client = Client()
    client.force_login(staff)

    body = assert_problem(client.get("/api/v1/monitors/"), 403)

    assert body["detail"] == "Without a key, only superusers may use the API."


def test_browser_must_prove_where_it_comes_from(operator):
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)

    answer = client.post(
        "/api/v1/subscribers/", {"email": "a@b.org"}, content_type="application/json"
    )

    assert_problem(answer, 403)
    assert not Subscriber.objects.exists()


# The command


def run(*arguments):
    out = StringIO()
    call_command("create_api_key", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_created_key_is_printed_alone_and_opens_everything(client):
    printed = run("deploys")

    key = printed.removesuffix("\n")
    assert key == printed.strip()
    assert ApiKey.objects.get().scopes == sorted(every_scope())
    assert key not in str(ApiKey.objects.values())
    for name in LISTS:
        answer = client.get(
            f"/api/v1/{name}/", headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code == 200


@pytest.mark.django_db
def test_created_key_may_be_limited():
    run("reader", "--scope", "monitors:read", "--scope", "incidents:read")

    assert ApiKey.objects.get().scopes == ["incidents:read", "monitors:read"]
    with pytest.raises(CommandError, match="invalid choice: 'all'"):
        run("reader", "--scope", "all")


# Problems


@pytest.mark.parametrize(
    "path",
    ["v1/", "v1/nothing/", "v2/monitors/", "", "v1/monitors/nothing/", "v1/alerts/x/"],
)
def test_address_without_anything_is_a_problem(api, path):
    assert_problem(api.get(f"/api/{path}"), 404)
    assert_problem(api.patch(f"/api/{path}"), 404)


def test_missing_slash_is_named(api):
    body = assert_problem(api.post("/api/v1/monitors", {}), 404)

    assert (
        body["detail"]
        == "There is nothing at this address: it lacks the slash at its end."
    )


@pytest.mark.parametrize("method", ["put", "delete", "options", "trace"])
def test_method_that_is_not_allowed_is_a_problem(api, method):
    answer = getattr(api, method)("/api/v1/monitors/")

    assert_problem(answer, 405)
    assert answer["Allow"] == "GET, HEAD, POST"


def test_form_is_an_unsupported_type(api):
    answer = api.post("/api/v1/monitors/", "tag=shop", content_type="text/plain")

    assert_problem(answer, 415)


def test_answer_that_is_not_json_is_not_to_be_had(api):
    answer = api.get("/api/v1/monitors/", headers={"Accept": "text/csv"})

    assert_problem(answer, 406)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "{'tag': 1}",
        b"\xff\xfe",
        '{"interval": NaN}',
        '{"interval": 1e999}',
        '{"interval": ' + "9" * 5000 + "}",
        '{"name": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"config": {"url": "\\ud83d"}}',
        "[" * 100_000,
    ],
    ids=range(11),
)
def test_body_that_cannot_be_kept_is_a_problem(api, body):
    answer = api.post("/api/v1/monitors/", body, content_type="application/json")

    assert_problem(answer, 400)


def test_body_that_is_too_large_is_a_problem(api):
    body = json.dumps({"name": "x" * (1 << 20)})

    answer = api.post("/api/v1/monitors/", body, content_type="application/json")

    assert_problem(answer, 413)


@pytest.mark.parametrize("body", ["null", "[]", '"tag"', "7", "true"])
def test_body_that_is_no_object_is_a_problem(api, body):
    answer = api.post("/api/v1/monitors/", body, content_type="application/json")

    assert list(assert_problem(answer, 400)["errors"]) == ["non_field_errors"]


def test_types_of_json_are_not_mixed_up(api):
    answer = api.post(
        "/api/v1/monitors/",
        {
            "tag": "shop",
            "name": 7,
            "config": {"url": "http://127.0.0.1:9/"},
            "interval": "60",
            "is_active": "yes",
        },
    )

    assert assert_problem(answer, 400)["errors"] == {
        "name": ["Give a text."],
        "interval": ["Give a whole number."],
        "is_active": ["Give true or false."],
    }


def test_detail_says_all_of_it_in_one_line(api):
    answer = api.post(
        "/api/v1/monitors/",
        {"tag": "shop", "name": "Shop", "config": {"url": "x"}, "interval": 1},
    )

    assert assert_problem(answer, 400)["detail"] == (
        "interval: Ensure this value is greater than or equal to 5."
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("boom"), 500),
        (OperationalError("boom"), 503),
        (IntegrityError("boom"), 409),
    ],
)
def test_failure_of_ours_is_a_problem_and_logged(
    api, make_monitor, monkeypatch, caplog, error, status
):
    def probe(monitor):
        raise error

    make_monitor("shop")
    monkeypatch.setattr(Monitor, "probe", probe)
    with caplog.at_level(logging.ERROR):
        answer = api.post("/api/v1/monitors/shop/check/")

    body = assert_problem(answer, status)
    assert "boom" not in str(body)
    assert "The API failed" in caplog.text


# Paging


def test_pages_follow_one_another_both_ways(api, make_monitor):
    for n in range(5):
        make_monitor(f"shop-{n}")

    first = api.get("/api/v1/monitors/?page_size=2").json()
    make_monitor("a-new-one")
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()

    pages = [[m["tag"] for m in page["results"]] for page in (first, second, third)]
    assert pages == [["shop-0", "shop-1"], ["shop-2", "shop-3"], ["shop-4"]]
    assert first.keys() == {"next", "previous", "results"}
    assert first["previous"] is third["next"] is None
    assert api.get(third["previous"]).json()["results"] == second["results"]


def test_every_row_is_on_one_page_though_all_are_as_old(api):
    now = timezone.now()
    emails = [f"{n}@example.org" for n in range(120)]
    Subscriber.objects.bulk_create(Subscriber(email=e, created_at=now) for e in emails)

    found, link = [], "/api/v1/subscribers/"
    while link:
        page = api.get(link).json()
        found += [subscriber["email"] for subscriber in page["results"]]
        link = page["next"]

    assert found == emails[::-1]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%00",
        "cD0lMDA%3D",
        "cD1hYmM%3D",
        "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ%3D%3D",
    ],
    ids=["no base64", "NUL", "p=%00", "p=abc", "p=9…"],
)
def test_cursor_of_another_make_is_no_failure(api, name, cursor):
    answer = api.get(f"/api/v1/{name}/?cursor={cursor}")

    assert answer.status_code in (200, 404)
    if answer.status_code == 404:
        assert_problem(answer, 404)


@pytest.mark.parametrize("size", ["0", "-1", "501", "x", "1" * 5000])
def test_page_size_that_is_not_fit_is_refused(api, size):
    answer = api.get(f"/api/v1/monitors/?page_size={size}")

    assert list(assert_problem(answer, 400)["errors"]) == ["page_size"]


@pytest.mark.parametrize("name", LISTS)
def test_unknown_filter_is_refused_by_name(api, name):
    answer = api.get(f"/api/v1/{name}/?colour=red")

    assert list(assert_problem(answer, 400)["errors"]) == ["colour"]


@pytest.mark.parametrize(
    "path",
    [
        "monitors/?kind=%00",
        "alerts/?monitor=%00",
        "alerts/?rule=1e400",
        "alerts/?rule=99999999999999999999999999",
        "incidents/?monitor=%ED%A0%80",
        "messages/?topic=%00",
        "messages/?trigger=x",
        "subscribers/?email=%00",
        "alerts/99999999999999999999999999/",
        "incidents/" + "9" * 5000 + "/",
        "monitors/%00/",
        "monitors/%FF/",
    ],
)
def test_hostile_address_is_no_failure(api, path):
    answer = api.get(f"/api/v1/{path}")

    assert answer.status_code in (200, 400, 404)


# The document and its page


@pytest.mark.django_db
def test_schema_is_json_unless_asked_otherwise(client):
    answer = client.get("/api/schema/")

    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("application/json")
    assert answer.json()["openapi"].startswith("3.1")
    yaml = client.get("/api/schema/", headers={"Accept": "application/yaml"})
    assert yaml.content.startswith(b"openapi: 3.1")


@pytest.mark.django_db
def test_docs_load_nothing_from_elsewhere(client):
    page = client.get("/api/docs/")
    script = client.get("/api/docs/?script=")

    assert page.status_code == script.status_code == 200
    assert script["Content-Type"].startswith("application/javascript")
    html = page.content.decode()
    assert "https://" not in html
    assert "http://" not in html
    assert "<script>" not in html
    assert '"/api/schema/"' in script.content.decode()
