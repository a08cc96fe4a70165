"""Corrections over the API; monitors/api.py is about the monitors themselves."""

from typing import Any

from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    Created,
    Listed,
    PastField,
    StrictModelSerializer,
    TrueFalseFilter,
    named,
)
from access.models import ApiKey

from .models import Correction, Monitor


def author_of(request: Request) -> str:
    """Who asks, as it is written beside what they change."""
    if isinstance(request.auth, ApiKey):
        return f"key {request.auth.name}"
    return str(request.user)


class TagField(serializers.CharField):
    """A monitor in service, by its tag."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        tag = super().run_validation(data)
        return named(Monitor.objects.current(), "tag", [tag])[tag]

    def to_representation(self, value: Any) -> str:
        tag: str = value.tag
        return tag


class CorrectionSerializer(StrictModelSerializer):
    """What a person says that a monitor's history really was.

    `status` is `up`, `degraded`, `down` or `maintenance`; `no_data` leaves the
    time out. Of several the newest is on top.
    """

    monitor = TagField(max_length=100)
    started_at = PastField()
    ended_at = PastField()

    class Meta:
        model = Correction
        fields = [
            "id",
            "monitor",
            "started_at",
            "ended_at",
            "status",
            "reason",
            "author",
            "created_at",
            "undone_at",
            "undone_by",
        ]
        read_only_fields = ["author", "created_at", "undone_at", "undone_by"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["ended_at"] <= attrs["started_at"]:
            text = "The end has to be after the beginning."
            raise serializers.ValidationError({"ended_at": [text]})
        return super().validate(attrs)

    def create(self, validated_data: dict[str, Any]) -> Correction:
        author = author_of(self.context["request"])
        return Correction.objects.create(**validated_data, author=author)


class CorrectionFilters(FilterSet):
    monitor = filters.CharFilter(field_name="monitor__tag", help_text="A tag.")
    is_undone = TrueFalseFilter(
        field_name="undone_at", lookup_expr="isnull", exclude=True
    )

    class Meta:
        model = Correction
        fields: list[str] = []


class CorrectionViewSet(Listed, Created):
    """Corrections, the latest time first. None is deleted: it is undone."""

    scope = "monitors"
    serializer_class = CorrectionSerializer
    filterset_class = CorrectionFilters
    queryset = Correction.objects.select_related("monitor").order_by(
        "-started_at", "-pk"
    )

    @extend_schema(operation_id="corrections_undo", request=None)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take it back; twice changes nothing."""
        correction = self.get_object()
        correction.undo(by=author_of(request), at=timezone.now())
        return Response(self.shown(correction))
