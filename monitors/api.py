from typing import Any

from django.db import IntegrityError
from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    ConfigField,
    Created,
    Edited,
    KindSerializer,
    Listed,
    TrueFalseFilter,
)
from egress.kinds import ConfigInvalid

from .checkers import CHECKERS
from .history import shown
from .models import Monitor, Overlay, Status

TAKEN = "There is already a monitor with this tag."


class MonitorSerializer(KindSerializer):
    """A monitor. `status` is what people are shown, incidents included."""

    instead = {
        "status": "It follows from the checks.",
        "checked_at": "POST to check/ for a check.",
    }
    config = ConfigField(kinds=CHECKERS)
    status = serializers.SerializerMethodField()
    checked_at = serializers.DateTimeField(
        source="state.checked_at", read_only=True, allow_null=True
    )
    latency_ms = serializers.FloatField(
        source="state.latency_ms", read_only=True, allow_null=True
    )
    error = serializers.CharField(source="state.error", read_only=True)

    class Meta:
        model = Monitor
        fields = [
            "tag",
            "name",
            "kind",
            "config",
            "interval",
            "is_active",
            "status",
            "checked_at",
            "latency_ms",
            "error",
            "created_at",
        ]
        read_only_fields = ["created_at"]
        # The only one there is would answer without naming the field.
        validators: list[Any] = []

    @extend_schema_field(serializers.ChoiceField(choices=Status.choices))
    def get_status(self, monitor: Monitor) -> str:
        laid: list[Overlay] = monitor.laid  # type: ignore[attr-defined]
        return shown(monitor.state.status_at(timezone.now()), laid)

    def validate_tag(self, tag: str) -> str:
        taken = Monitor.objects.current().filter(tag=tag)
        if self.instance:
            taken = taken.exclude(pk=self.instance.pk)
        if taken.exists():
            raise ValidationError(TAKEN)
        return tag

    def create(self, validated_data: dict[str, Any]) -> Monitor:
        return _save(Monitor(**validated_data))

    def update(self, instance: Monitor, validated_data: dict[str, Any]) -> Monitor:
        is_active = validated_data.pop("is_active", None)
        for name, value in validated_data.items():
            setattr(instance, name, value)
        if validated_data:
            _save(instance)
        if is_active is not None:
            turn = instance.resume if is_active else instance.pause
            turn(at=timezone.now())
        return instance


def _save(monitor: Monitor) -> Monitor:
    try:
        monitor.save()
    except IntegrityError:  # another caller was a moment faster
        raise ValidationError({"tag": [TAKEN]}) from None
    return monitor


class OutcomeSerializer(serializers.Serializer):
    """What one check found. Latency and its phases are in milliseconds."""

    status = serializers.ChoiceField(choices=Status.choices, read_only=True)
    latency_ms = serializers.FloatField(read_only=True, allow_null=True)
    error = serializers.CharField(read_only=True)
    phases = serializers.DictField(child=serializers.FloatField(), read_only=True)


class MonitorFilters(FilterSet):
    kind = filters.ChoiceFilter(choices=[(kind, kind) for kind in CHECKERS])
    is_active = TrueFalseFilter()

    class Meta:
        model = Monitor
        fields: list[str] = []


class MonitorViewSet(Listed, Created, Edited):
    scope = "monitors"
    serializer_class = MonitorSerializer
    filterset_class = MonitorFilters
    queryset = Monitor.objects.current().order_by("tag")
    lookup_field = "tag"
    lookup_value_regex = "[a-z0-9-]+"

    def get_queryset(self) -> QuerySet[Monitor]:
        now = timezone.now()
        # As a list: a queryset a monitor would be a third of the time.
        laid = Prefetch("overlays", Overlay.objects.over(now, now), to_attr="laid")
        return super().get_queryset().select_related("state").prefetch_related(laid)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take the monitor out of service for good; its history stays."""
        self.get_object().retire(at=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        operation_id="monitors_check",
        request=None,
        responses=OutcomeSerializer,
    )
    @action(detail=True, methods=["post"])
    def check(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Ask the target once, now; the answer leaves no trace in history."""
        try:
            outcome = self.get_object().probe()
        except ConfigInvalid as invalid:
            errors = {name: [text] for name, text in invalid.errors.items()}
            raise ValidationError({"config": errors}) from invalid
        return Response(OutcomeSerializer(outcome).data)
