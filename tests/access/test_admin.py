import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from access import desk
from access.forms import Lines, Pairs, field_of, kind_form, name_of
from access.models import ApiKey, Scope
from egress.kinds import option
from outbox.admin import TriggerForm
from outbox.channels import CHANNELS
from outbox.models import Trigger


@dataclass(frozen=True, kw_only=True)
class Everything:
    """A kind that has a field of every type."""

    label: ClassVar = "Everything"

    host: str = option(label="Host")
    port: int = option(label="Port", default=443)
    timeout: float = option(label="Timeout", default=1.5)
    follow: bool = option(label="Follow", default=False)
    names: tuple[str, ...] = option(label="Names", default=("a", "b"))
    headers: dict[str, str] = option(  # noqa: RUF009
        label="Headers", default_factory=dict
    )
    token: str | None = option(label="Token", default=None, secret=True)

    def destination(self):
        return self.host


@pytest.fixture
def with_everything(monkeypatch):
    """The registry of channels has one row more."""
    monkeypatch.setitem(CHANNELS, "all", Everything)


def filled(**values):
    kinds = {"all": Everything}
    given = {"name": "one", "kind": "all", "is_active": "on"}
    given |= {name_of("all", name): value for name, value in values.items()}
    return kind_form(kinds, TriggerForm)(given)


def test_each_type_has_its_own_field(db):
    form = kind_form({"all": Everything}, TriggerForm)()

    assert {
        name.removeprefix("all__"): type(field)
        for name, field in form.fields.items()
        if name.startswith("all__")
    } == {
        "host": forms.CharField,
        "port": forms.IntegerField,
        "timeout": forms.FloatField,
        "follow": forms.BooleanField,
        "names": Lines,
        "headers": Pairs,
        "token": forms.CharField,
    }
    assert form["all__names"].value() == "a\nb"
    assert form["all__port"].value() == 443


def test_filled_in_fields_become_the_config(with_everything, db):
    form = filled(
        host="example.org",
        port="8443",
        follow="on",
        names="x, y\nz",
        headers="A: 1\nB: 2:3",
        token="s3cret",
    )

    assert form.is_valid(), form.errors
    assert form.instance.config == {
        "host": "example.org",
        "port": 8443,
        "timeout": 1.5,
        "follow": True,
        "names": ["x", "y", "z"],
        "headers": {"A": "1", "B": "2:3"},
        "token": "s3cret",
    }


def test_what_is_wrong_stands_at_its_field(with_everything, db):
    form = filled(host="", port="many", headers="no colon")

    assert form.errors == {
        "all__host": ["This field is required."],
        "all__port": ["Enter a whole number."],
        "all__headers": ["Write each line as Name: value."],
    }


@pytest.mark.parametrize(("typed", "kept"), [("***", "0ld"), ("new", "new")])
def test_stars_keep_a_secret_and_a_new_one_replaces_it(
    with_everything, admin, typed, kept
):
    stored = Trigger(name="one", kind="all", config={"host": "a", "token": "0ld"})
    stored.full_clean()
    stored.save()
    page = f"/admin/outbox/trigger/{stored.pk}/change/"

    shown = admin.get(page).content.decode()
    admin.post(
        page,
        {"name": "one", "kind": "all", "all__host": "b", "all__token": typed},
    )

    stored.refresh_from_db()
    assert 'value="***"' in shown
    assert "0ld" not in shown.split("<main")[1]
    assert (stored.config["host"], stored.config["token"]) == ("b", kept)


def test_a_kind_needs_nothing_but_its_row(with_everything, admin):
    page = admin.get("/admin/outbox/trigger/add/").content.decode()
    admin.post(
        "/admin/outbox/trigger/add/",
        {"name": "new", "kind": "all", "all__host": "a", "all__token": "s3cret"},
    )

    assert 'name="all__headers"' in page
    assert Trigger.objects.get().config["token"] == "s3cret"


def test_a_key_is_shown_once_and_kept_as_a_hash(admin):
    made = admin.post(
        "/admin/access/apikey/add/",
        {"name": "deploy", "scopes": ["monitors:read", "incidents:write"]},
    )
    key = re.search(r"toc_[0-9a-f]{8}_[\w-]+", made.content.decode()).group()
    stored = ApiKey.find(key, at=timezone.now())
    again = admin.get(f"/admin/access/apikey/{stored.pk}/change/").content.decode()

    assert "no-store" in made.headers["Cache-Control"]
    assert "sessionid" in admin.cookies
    assert key not in str(admin.cookies)
    assert (stored.name, stored.created_by.get_username()) == ("deploy", "ana")
    assert stored.scopes == ["monitors:read", "incidents:write"]
    assert key not in again
    assert stored.digest not in again


def test_a_key_is_revoked_and_never_deleted(admin):
    key = ApiKey(name="deploy")
    key.issue()

    admin.post(
        "/admin/access/apikey/",
        {"_selected_action": key.pk, "action": "revoke", "index": 0},
    )

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert admin.get(f"/admin/access/apikey/{key.pk}/delete/").status_code == 403


def test_editing_a_key_leaves_its_secret_alone(admin):
    key = ApiKey(name="deploy")
    secret = key.issue()

    admin.post(
        f"/admin/access/apikey/{key.pk}/change/",
        {"name": "renamed", "scopes": [Scope.MONITORS_READ]},
    )

    found = ApiKey.find(secret, at=timezone.now())
    assert (found.name, found.scopes) == ("renamed", ["monitors:read"])


@pytest.mark.parametrize("state", ["valid", "expired", "revoked"])
def test_keys_are_filtered_by_state(admin, state):
    now = timezone.now()
    ApiKey(name="valid-one").issue()
    ApiKey(name="expired-one", expires_at=now).issue()
    revoked = ApiKey(name="revoked-one")
    revoked.issue()
    revoked.revoke(at=now)

    shown = admin.get(f"/admin/access/apikey/?state={state}").content.decode()

    found = {name for name in ("valid", "expired", "revoked") if f"{name}-one" in shown}
    assert found == {state}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (40, "40 s"),
        (60, "1 min"),
        (95, "1 min 35 s"),
        (185, "3 min"),
        (3900, "1 h 5 min"),
        (7200, "2 h"),
        (270_000, "3 d 3 h"),
    ],
)
def test_lengths_are_said_in_two_units_at_most(seconds, words):
    assert desk.length(seconds) == words


def test_a_topic_nobody_named_is_words_alone():
    assert desk.topic("parcel:7") == "Parcel 7"
    assert desk.topic("") == desk.NOTHING


def test_an_optional_field_takes_the_type_it_may_have():
    @dataclass
    class Kind:
        size: int | None = option(label="", default=None)

    made = field_of(Kind.__dataclass_fields__["size"], int | None)

    assert type(made) is forms.IntegerField
    assert made.label == "Size"


@pytest.mark.django_db
def test_only_superusers_make_or_widen_keys(client):
    staff = get_user_model().objects.create_user("bo", password="pass", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__endswith="apikey"))
    client.force_login(staff)
    key = ApiKey(name="old", scopes=["monitors:read"])
    key.issue()
    wider = {"name": "old", "scopes": ["incidents:write"]}

    added = client.post("/admin/access/apikey/add/", wider)
    client.post(f"/admin/access/apikey/{key.pk}/change/", wider)

    assert added.status_code == 403
    assert ApiKey.objects.get().scopes == ["monitors:read"]
