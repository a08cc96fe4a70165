from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import connection
from django.utils import timezone

from access import encryption
from outbox.models import Message, Trigger, message


@pytest.mark.django_db
def test_secrets_are_encrypted_at_rest_and_masked_where_shown(make_trigger):
    trigger = make_trigger("webhook", url="https://hooks.example.org/T0/secret")

    with connection.cursor() as cursor:
        cursor.execute("SELECT config FROM outbox_trigger")
        (stored,) = cursor.fetchone()

    assert "secret" not in stored
    assert Trigger.objects.get().config["url"] == "https://hooks.example.org/T0/secret"
    shown = trigger.shown_config
    assert (shown["url"], shown["secret"], shown["timeout"]) == ("***", "***", 10.0)


@pytest.mark.django_db
def test_wrong_key_fails_closed_with_a_named_reason(make_trigger, settings):
    make_trigger("webhook", url="https://hooks.example.org/")

    settings.ENCRYPTION_KEYS = [encryption.Fernet.generate_key().decode()]
    with pytest.raises(ImproperlyConfigured, match="ENCRYPTION_KEYS"):
        Trigger.objects.get()


@pytest.mark.django_db
def test_new_key_in_front_of_the_old_one_reads_what_the_old_one_wrote(
    make_trigger, settings
):
    make_trigger("webhook", url="https://hooks.example.org/")

    new = encryption.Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *settings.ENCRYPTION_KEYS]

    assert Trigger.objects.get().config["url"] == "https://hooks.example.org/"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "config", "said"),
    [
        ("webhook", {}, "url: This field is required."),
        ("webhook", {"url": "nonsense"}, "http:// or https://"),
        ("webhook", {"url": "http://example.org", "secret": "short"}, "24 to 64 bytes"),
        ("webhook", {"url": "http://example.org", "timeout": 99}, "0.1 to 30 seconds"),
        ("email", {}, "at least one address"),
        ("email", {"to": ["nobody"]}, "is no address"),
        ("email", {"to": "a@example.org"}, "Give a list"),
    ],
)
def test_unfit_trigger_is_refused_saying_what_to_do(kind, config, said, make_trigger):
    with pytest.raises(ValidationError) as refused:
        make_trigger(kind, **config)

    assert said in str(refused.value)


def test_longest_wait_is_of_what_could_be_attempted_now(db):
    at = timezone.now()

    def queue(key, seconds, **more):
        due = at - timedelta(seconds=seconds)
        made = message(
            dedup_key=key, kind="email", renderer="x", values={}, due_at=due, **more
        )
        Message.objects.bulk_create([made])

    assert Message.objects.longest_wait(at) == 0.0
    about = {"recipient_key": "reader:1", "topic_key": "incident:1"}
    queue("tried again later", -60, **about)
    queue("waits for the one before", 900, **about)
    queue("being attempted", 800, lease_until=at + timedelta(seconds=30))
    queue("delivered", 700, state=Message.State.DELIVERED)
    queue("due", 42)
    queue("due later", 5)

    assert Message.objects.longest_wait(at) == 42.0
