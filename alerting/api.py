from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    MOST_NUMBER,
    Created,
    Edited,
    Listed,
    RelatedField,
    StrictModelSerializer,
)
from monitors.models import Monitor
from outbox.models import Trigger

from .models import Alert, AlertRule


class AlertRuleSerializer(StrictModelSerializer):
    """A rule. It watches exactly `monitors`, and tells exactly `triggers`."""

    monitors = RelatedField(
        queryset=Monitor.objects.current(),
        key="tag",
        child=serializers.CharField(max_length=100),
        allow_empty=False,
        help_text="Tags.",
    )
    triggers = RelatedField(
        queryset=Trigger.objects.all(),
        key="pk",
        child=serializers.IntegerField(min_value=1, max_value=MOST_NUMBER),
        required=False,
        help_text="Ids.",
    )

    class Meta:
        model = AlertRule
        fields = [
            "id",
            "name",
            "monitors",
            "alert_for",
            "alert_value",
            "failure_threshold",
            "success_threshold",
            "severity",
            "description",
            "create_incident",
            "is_active",
            "triggers",
            "created_at",
        ]
        read_only_fields = ["created_at"]

    def create(self, validated_data: dict[str, Any]) -> AlertRule:
        monitors = validated_data.pop("monitors")
        triggers = validated_data.pop("triggers", [])
        rule = AlertRule.objects.create(**validated_data)
        rule.watch(monitors)
        rule.triggers.set(triggers)
        return rule

    def update(self, instance: AlertRule, validated_data: dict[str, Any]) -> AlertRule:
        monitors = validated_data.pop("monitors", None)
        triggers = validated_data.pop("triggers", None)
        is_active = validated_data.pop("is_active", None)
        for name, value in validated_data.items():
            setattr(instance, name, value)
        # Before anything resolves: the notices of that go to the new triggers.
        if triggers is not None:
            instance.triggers.set(triggers)
        if validated_data:
            instance.save()
        if monitors is not None:
            instance.watch(monitors)
        if is_active is not None:
            turn = instance.switch_on if is_active else instance.switch_off
            turn(at=timezone.now())
        return instance


class AlertRuleFilters(FilterSet):
    monitor = filters.CharFilter(
        field_name="monitors__tag", distinct=True, help_text="A tag."
    )
    severity = filters.ChoiceFilter(choices=AlertRule.Severity.choices)

    class Meta:
        model = AlertRule
        fields: list[str] = []


class AlertRuleViewSet(Listed, Created, Edited):
    """What has to be true, and for how long, before a failure matters."""

    scope = "alerting"
    serializer_class = AlertRuleSerializer
    filterset_class = AlertRuleFilters
    queryset = AlertRule.objects.current().order_by("pk")

    def get_queryset(self) -> QuerySet[AlertRule]:
        watched = Prefetch("monitors", Monitor.objects.current().order_by("tag"))
        # Their configs stay encrypted: only the ids are shown.
        told = Prefetch("triggers", Trigger.objects.order_by("pk").only("pk"))
        return super().get_queryset().prefetch_related(watched, told)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take the rule out of service for good; what it triggered resolves."""
        self.get_object().retire(at=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class AlertSerializer(serializers.ModelSerializer):
    """An alert, with the values of its time; `monitor` is the tag it had then."""

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
            "description",
            "observed",
            "error",
            "began_at",
            "triggered_at",
            "resolved_at",
            "incident",
        ]
        read_only_fields = fields


class AlertFilters(FilterSet):
    monitor = filters.CharFilter(
        method="of_monitor", help_text="A tag, of then or of now."
    )
    state = filters.ChoiceFilter(choices=Alert.State.choices)
    severity = filters.ChoiceFilter(choices=AlertRule.Severity.choices)

    class Meta:
        model = Alert
        fields = ["rule"]

    def of_monitor(
        self, queryset: QuerySet[Alert], name: str, tag: str
    ) -> QuerySet[Alert]:
        bearers = Monitor.objects.current().filter(tag=tag)
        return queryset.filter(Q(monitor_tag=tag) | Q(monitor__in=bearers))


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
