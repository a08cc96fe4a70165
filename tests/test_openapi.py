"""The API keeps to its own OpenAPI document, whatever it is sent."""

from datetime import timedelta
from io import StringIO

import hypothesis
import pytest
import schemathesis
from django.conf import settings
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.utils import timezone
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from access.models import ApiKey
from alerting import rules
from alerting.models import Alert, Silence
from config.api_urls import document
from incidents.merging import relate
from incidents.models import Incident, Maintenance, UpdateTemplate
from monitors.models import Correction, Label
from outbox.models import Message
from subscriptions.models import Subscriber

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]
schema = schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application())


@pytest.fixture
def one_connection(db):
    """Keep the end of a request from closing the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def world(one_connection, make_monitor, make_rule, make_trigger, shop):
    """One of everything, and the path parameters that lead to each."""
    monitor = make_monitor("shop", shop.url)
    trigger = make_trigger(url=shop.url)
    rule = make_rule(monitor, triggers=[trigger])
    now = timezone.now()
    result = rules.Result(id=1, at=now, status="down")
    alert = Alert.trigger(rule, monitor, rules.Change("TRIGGERED", result, now, ""))
    incident = Incident.open(
        title="Slow",
        summary="It is slow.",
        started_at=now,
        at=now,
        source="API",
        impacts={monitor: "DOWN"},
    )
    related = Incident.open(
        title="Slower", summary="Too.", started_at=now, at=now, source="API"
    )
    relate(incident, related, "RELATED", at=now)
    correction = Correction.objects.create(
        monitor=monitor,
        started_at=now - timedelta(hours=2),
        ended_at=now - timedelta(hours=1),
        status="up",
        reason="The probe was wrong",
        author="ana",
    )
    maintenance = Maintenance(
        title="Upgrade",
        description="Writes pause.",
        starts_at=now + timedelta(hours=2),
        ends_at=now + timedelta(hours=3),
    ).schedule(at=now, impacts={monitor: "MAINTENANCE"})
    occurrence = maintenance.occurrences.get()
    silence = Silence.objects.create(
        reason="Backup", silences_all=True, ends_at=now + timedelta(hours=1)
    )
    template = UpdateTemplate.objects.create(name="Slow", body="{{monitors}} is slow.")
    return {
        "monitors": {"tag": monitor.tag},
        "labels": {"id": Label.objects.create(name="payments").pk},
        "silences": {"id": silence.pk},
        "corrections": {"id": correction.pk},
        "alert-rules": {"id": rule.pk},
        "triggers": {"id": trigger.pk},
        "alerts": {"id": alert.pk},
        "incidents": {
            "id": incident.pk,
            "update": incident.updates.get().pk,
            "other": related.pk,
        },
        "update-templates": {"id": template.pk},
        "maintenances": {"id": maintenance.pk, "occurrence": occurrence.pk},
        "messages": {"id": Message.objects.get().pk},
        "subscribers": {"id": Subscriber.add("ana@example.org", at=now).pk},
    }


@pytest.fixture
def key(db):
    return ApiKey(name="tests").issue()


def test_document_is_made_without_a_warning():
    out, err = StringIO(), StringIO()

    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out, stderr=err)

    assert err.getvalue() == ""
    assert "operationId: incidents_updates_create" in out.getvalue()


@schema.parametrize()
@hypothesis.settings(
    max_examples=6,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_api_keeps_to_its_document(case, world, key):
    area = case.operation.path.split("/")[3]
    if case.path_parameters:
        case.path_parameters = world[area]

    body = case.meta.components.get(ParameterLocation.BODY)
    is_unfit = body is not None and body.mode.is_negative
    checks = [*CHECKS, negative_data_rejection] if is_unfit else CHECKS
    # Every call meets the same world: what one changed, or broke, is taken back.
    before = transaction.savepoint()
    try:
        case.call_and_validate(
            headers={"Authorization": f"Bearer {key}"}, checks=checks
        )
    finally:
        transaction.savepoint_rollback(before)


def test_page_of_the_docs_has_every_address():
    page = (settings.BASE_DIR / "docs" / "api.md").read_text()

    assert [path for path in document()["paths"] if path not in page] == []
