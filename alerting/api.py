from typing import Any, Final

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from rest_framework import serializers, status
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
from monitors.api import SeverityField
from monitors.labels_api import LabelsField
from monitors.models import Monitor
from outbox.models import Trigger

from .models import AlertRule

# By what a rule finds its monitors; it needs one of them at least.
WATCHING: Final = ("monitors", "labels", "watches_all")


class AlertRuleSerializer(StrictModelSerializer):
    """A rule. It watches exactly `monitors`, all that bear one of `labels`, and
    every monitor if `watches_all`; it tells exactly `triggers`.
    """

    monitors = RelatedField(
        queryset=Monitor.objects.current(),
        key="tag",
        child=serializers.CharField(max_length=100),
        required=False,
        help_text="Tags. Empty only beside labels or watches_all.",
    )
    labels = LabelsField(required=False, help_text="Names.")
    triggers = RelatedField(
        queryset=Trigger.objects.all(),
        key="pk",
        child=serializers.IntegerField(min_value=1, max_value=MOST_NUMBER),
        required=False,
        help_text="Ids.",
    )
    incident_severity = SeverityField(
        required=False,
        allow_null=True,
        help_text="Otherwise a critical alert makes a critical incident, a warning a "
        "minor one.",
    )

    class Meta:
        model = AlertRule
        fields = [
            "id",
            "name",
            "monitors",
            "labels",
            "watches_all",
            "alert_for",
            "alert_value",
            "includes_worse",
            "window_minutes",
            "failure_threshold",
            "success_threshold",
            "unit",
            "severity",
            "description",
            "create_incident",
            "incident_severity",
            "cooldown_seconds",
            "reopen_seconds",
            "repeat_minutes",
            "is_active",
            "triggers",
            "created_at",
        ]
        read_only_fields = ["created_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        known = getattr(self.instance, "watches_all", False)
        changes = attrs.keys() & {*WATCHING} or not self.instance
        if changes and not (
            attrs.get("watches_all", known)
            or self._chosen(attrs, "monitors")
            or self._chosen(attrs, "labels")
        ):
            text = "Name a monitor or a label, or set watches_all."
            raise serializers.ValidationError({"monitors": [text]})
        return super().validate(attrs)

    def _chosen(self, attrs: dict[str, Any], name: str) -> bool:
        """Whether there are any, after the change."""
        if name in attrs or not self.instance:
            return bool(attrs.get(name))
        return bool(getattr(self.instance, name).exists())

    def create(self, validated_data: dict[str, Any]) -> AlertRule:
        monitors = validated_data.pop("monitors", [])
        labels = validated_data.pop("labels", [])
        triggers = validated_data.pop("triggers", [])
        rule = AlertRule.objects.create(**validated_data)
        rule.watch(monitors, labels)
        rule.triggers.set(triggers)
        return rule

    def update(self, instance: AlertRule, validated_data: dict[str, Any]) -> AlertRule:
        watching = {n: validated_data.pop(n) for n in WATCHING if n in validated_data}
        triggers = validated_data.pop("triggers", None)
        is_active = validated_data.pop("is_active", None)
        for name, value in validated_data.items():
            setattr(instance, name, value)
        # Before anything resolves: the notices of that go to the new triggers.
        if triggers is not None:
            instance.triggers.set(triggers)
        if validated_data:
            instance.save()
        if watching:
            watching.setdefault("monitors", instance.monitors.all())
            instance.watch(**watching)
        if is_active is not None:
            turn = instance.switch_on if is_active else instance.switch_off
            turn(at=timezone.now())
        return instance


class AlertRuleFilters(FilterSet):
    monitor = filters.CharFilter(
        field_name="monitors__tag", distinct=True, help_text="A tag it names."
    )
    label = filters.CharFilter(
        field_name="labels__name", distinct=True, help_text="A label it names."
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
        return super().get_queryset().prefetch_related(watched, "labels", told)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take the rule out of service for good; what it triggered resolves."""
        self.get_object().retire(at=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
