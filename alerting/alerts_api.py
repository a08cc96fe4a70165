from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import Listed, StrictSerializer, TrueFalseFilter
from monitors.corrections_api import author_of
from monitors.models import Monitor

from .models import Alert, AlertRule

MOST_MINUTES = 30 * 24 * 60
OVER = "The alert has resolved; there is nothing to acknowledge."


class AlertSerializer(serializers.ModelSerializer):
    """An alert, with the values of its time; `monitor` is the tag it had then.

    `withheld` names the gate that keeps its notices and its incident back.
    """

    monitor = serializers.CharField(source="monitor_tag", read_only=True)
    incident = serializers.IntegerField(
        source="incident_number", read_only=True, allow_null=True
    )

    class Meta:
        model = Alert
        fields = [
            "id",
            "rule",
            "rule_name",
            "monitor",
            "monitor_name",
            "monitor_kind",
            "state",
            "severity",
            "alert_for",
            "alert_value",
            "failure_threshold",
            "success_threshold",
            "unit",
            "description",
            "observed",
            "error",
            "began_at",
            "triggered_at",
            "resolved_at",
            "incident",
            "withheld",
            "acknowledged_at",
            "acknowledged_by",
            "acknowledged_until",
            "note",
            "reminders",
            "remind_at",
        ]
        read_only_fields = fields


class AcknowledgeSerializer(StrictSerializer):
    """For how long: until a moment, or for so many minutes, or until it resolves."""

    note = serializers.CharField(max_length=500, allow_blank=True, default="")
    until = serializers.DateTimeField(allow_null=True, default=None)
    minutes = serializers.IntegerField(
        min_value=1, max_value=MOST_MINUTES, allow_null=True, default=None
    )

    def validate_until(self, until: datetime | None) -> datetime | None:
        if until and until <= timezone.now():
            raise ValidationError("This moment has passed.")
        return until

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["until"] and attrs["minutes"]:
            raise ValidationError({"minutes": ["Give a moment or minutes, not both."]})
        return attrs


class AlertFilters(FilterSet):
    monitor = filters.CharFilter(
        method="of_monitor", help_text="A tag, of then or of now."
    )
    label = filters.CharFilter(
        field_name="monitor__labels__name", help_text="Of its monitor."
    )
    state = filters.ChoiceFilter(choices=Alert.State.choices)
    severity = filters.ChoiceFilter(choices=AlertRule.Severity.choices)
    acknowledged = TrueFalseFilter(method="with_acknowledgement")
    since = filters.IsoDateTimeFilter(
        field_name="triggered_at", lookup_expr="gte", help_text="Of triggering."
    )
    until = filters.IsoDateTimeFilter(
        field_name="triggered_at", lookup_expr="lt", help_text="Of triggering."
    )

    class Meta:
        model = Alert
        fields = ["rule"]

    def of_monitor(
        self, queryset: QuerySet[Alert], name: str, tag: str
    ) -> QuerySet[Alert]:
        bearers = Monitor.objects.current().filter(tag=tag)
        return queryset.filter(Q(monitor_tag=tag) | Q(monitor__in=bearers))

    def with_acknowledgement(
        self, queryset: QuerySet[Alert], name: str, is_so: bool
    ) -> QuerySet[Alert]:
        return queryset.filter(acknowledged_at__isnull=not is_so)


class AlertViewSet(Listed):
    """Alerts, newest first."""

    scope = "alerting"
    serializer_class = AlertSerializer
    filterset_class = AlertFilters
    queryset = Alert.objects.order_by("-triggered_at", "-pk")

    @extend_schema(operation_id="alerts_resolve", request=None)
    @action(detail=True, methods=["post"])
    def resolve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Close the alert by hand and count from zero; twice changes nothing."""
        alert = self.get_object()
        alert.resolve(reason="The alert was resolved by hand.", at=timezone.now())
        return Response(self.shown(alert))

    @extend_schema(
        operation_id="alerts_acknowledge",
        request=AcknowledgeSerializer,
        responses=AlertSerializer,
    )
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take note of an alert that goes on: nobody is reminded meanwhile."""
        alert, at = self.get_object(), timezone.now()
        asked = AcknowledgeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        until = given["until"]
        if given["minutes"]:
            until = at + timedelta(minutes=given["minutes"])
        by = author_of(request)
        if not alert.acknowledge(by=by, note=given["note"], until=until, at=at):
            raise ValidationError({"state": [OVER]})
        return Response(self.shown(alert))

    @extend_schema(operation_id="alerts_unacknowledge", request=None)
    @action(detail=True, methods=["post"])
    def unacknowledge(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take it back: people are reminded again; twice changes nothing."""
        alert = self.get_object()
        alert.unacknowledge(by=author_of(request), at=timezone.now())
        return Response(self.shown(alert))
