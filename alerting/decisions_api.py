"""Why nothing was opened: what gates have said, and one answer for a monitor."""

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import Endpoint
from monitors.models import Monitor, Status

from .models import Decision
from .why import why


class DecisionSerializer(serializers.ModelSerializer):
    """What a gate said of one episode of a rule and monitor; `at` is the last time."""

    monitor = serializers.CharField(source="monitor.tag", read_only=True)
    at = serializers.DateTimeField(source="last_at", read_only=True)

    class Meta:
        model = Decision
        fields = [
            *("id", "monitor", "rule", "gate", "verdict", "reason"),
            *("at", "first_at", "count", "alert"),
        ]
        read_only_fields = fields


class DecisionFilters(FilterSet):
    monitor = filters.CharFilter(field_name="monitor__tag", help_text="A tag.")
    gate = filters.CharFilter()
    verdict = filters.ChoiceFilter(choices=Decision.Verdict.choices)
    since = filters.IsoDateTimeFilter(field_name="last_at", lookup_expr="gte")

    class Meta:
        model = Decision
        fields = ["rule", "alert"]


class DecisionViewSet(mixins.ListModelMixin, Endpoint):
    """Why something that might have become an alert or an incident did not."""

    scope = "alerting"
    serializer_class = DecisionSerializer
    filterset_class = DecisionFilters
    queryset = Decision.objects.select_related("monitor").order_by("-last_at", "-pk")


class WhySerializer(serializers.Serializer):
    """Reasons are sentences; there are none if it does not fail, or all is told."""

    monitor = serializers.CharField(read_only=True)
    status = serializers.ChoiceField(choices=Status.choices, read_only=True)
    reasons = serializers.ListField(child=serializers.CharField(), read_only=True)


class WhyViewSet(Endpoint):
    scope = "alerting"
    serializer_class = WhySerializer
    queryset = Monitor.objects.current().select_related("state").defer("config")

    @extend_schema(operation_id="monitors_why")
    def retrieve(self, request: Request, tag: str) -> Response:
        """Say why nothing was opened for a monitor that fails now."""
        monitor, now = get_object_or_404(self.get_queryset(), tag=tag), timezone.now()
        said: dict[str, Any] = {
            "monitor": monitor.tag,
            "status": monitor.state.status_at(now),
            "reasons": why(monitor, now),
        }
        return Response(WhySerializer(said).data)
