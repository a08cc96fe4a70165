from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
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
    Created,
    Edited,
    Listed,
    PastField,
    StrictModelSerializer,
    StrictSerializer,
    TrueFalseFilter,
    named,
)
from access.permissions import may
from monitors.models import Monitor

from .models import Impact, Incident, IncidentUpdate, State

SEVERITIES = [(label.lower(), label) for label in Incident.Severity.labels]


@extend_schema_field(serializers.ChoiceField(choices=SEVERITIES))
class SeverityField(serializers.ChoiceField):
    """minor, major or critical, kept as numbers so that they can be compared."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=SEVERITIES, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return Incident.Severity[super().to_internal_value(data).upper()]

    def to_representation(self, value: Any) -> str:
        return Incident.Severity(value).name.lower()


class ImpactList(serializers.ListSerializer):
    def get_attribute(self, instance: Incident) -> list[Impact]:
        return impacts_told(instance)


def impacts_told(incident: Incident) -> list[Impact]:
    """What it does to monitors now or, once it has ended, did to each last."""
    told = {
        impact.monitor_id: impact
        for impact in incident.impacts.all()
        if impact.ended_at is None or not incident.is_open
    }
    return list(told.values())


class ImpactSerializer(StrictSerializer):
    """A monitor, by its tag, and what the incident does to it."""

    tag = serializers.CharField(source="monitor.tag", max_length=100)
    impact = serializers.ChoiceField(source="level", choices=Impact.Level.choices)

    class Meta:
        list_serializer_class = ImpactList

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want both, also where the incident itself is given only in part."""
        missing = {"tag": "monitor", "impact": "level"}
        text = "This field is required."
        errors = {n: [text] for n, source in missing.items() if source not in attrs}
        if errors:
            raise ValidationError(errors)
        return attrs


class UpdateSerializer(StrictModelSerializer):
    """One entry of the story. `body` is Markdown; the latest `at` makes the state."""

    state = serializers.ChoiceField(choices=State.choices)
    body = serializers.CharField(max_length=20_000)
    at = PastField(required=False, help_text="Now, unless given.")

    class Meta:
        model = IncidentUpdate
        fields = ["id", "state", "body", "at"]


class IncidentSerializer(StrictModelSerializer):
    """What people are told. `summary` becomes the first update."""

    instead = {
        "state": "Write an update to change it.",
        "ended_at": "Write an update that resolves it.",
        "updates": "Write to updates/.",
        "source": "Incidents written here come from the API.",
    }
    severity = SeverityField(required=False)
    started_at = PastField(required=False)
    monitors = ImpactSerializer(many=True, required=False)
    updates = UpdateSerializer(many=True, read_only=True)

    class Meta:
        model = Incident
        fields = [
            "id",
            "title",
            "state",
            "severity",
            "source",
            "started_at",
            "ended_at",
            "url",
            "monitors",
            "updates",
        ]
        read_only_fields = ["state", "source", "ended_at"]

    def validate_started_at(self, at: datetime) -> datetime:
        if self.instance and self.instance.ended_at and at > self.instance.ended_at:
            raise ValidationError("It had ended by then.")
        return at

    def validate_monitors(self, told: list[dict[str, Any]]) -> dict[Monitor, str]:
        levels = {item["monitor"]["tag"]: item["level"] for item in told}
        if len(levels) < len(told):
            raise ValidationError("Name each monitor once.")
        if self.instance and not self.instance.is_open:
            raise ValidationError("It is resolved; write an update to reopen it first.")
        found = named(Monitor.objects.current(), "tag", list(levels))
        return {monitor: levels[tag] for tag, monitor in found.items()}

    def update(self, instance: Incident, validated_data: dict[str, Any]) -> Incident:
        impacts = validated_data.pop("monitors", None)
        instance.revise(**validated_data, impacts=impacts, at=timezone.now())
        return instance


class NewIncidentSerializer(IncidentSerializer):
    summary = serializers.CharField(max_length=20_000, write_only=True)
    started_at = PastField()

    class Meta(IncidentSerializer.Meta):
        fields = [*IncidentSerializer.Meta.fields, "summary"]
        read_only_fields = ["state", "source", "ended_at"]

    def create(self, validated_data: dict[str, Any]) -> Incident:
        impacts = validated_data.pop("monitors", None)
        return Incident.open(
            **validated_data,
            impacts=impacts,
            source=Incident.Source.API,
            author=_author(self.context["request"]),
            at=timezone.now(),
        )


def _author(request: Request) -> User | None:
    return request.user if isinstance(request.user, User) else None


class IncidentFilters(FilterSet):
    state = filters.ChoiceFilter(choices=State.choices)
    source = filters.ChoiceFilter(choices=Incident.Source.choices)
    monitor = filters.CharFilter(method="of_monitor", help_text="A tag.")
    open = TrueFalseFilter(method="are_open")

    class Meta:
        model = Incident
        fields: list[str] = []

    def of_monitor(
        self, queryset: QuerySet[Incident], name: str, tag: str
    ) -> QuerySet[Incident]:
        touched = Impact.objects.filter(monitor__tag=tag)
        return queryset.filter(pk__in=touched.values("incident"))

    def are_open(
        self, queryset: QuerySet[Incident], name: str, value: bool
    ) -> QuerySet[Incident]:
        if value:
            return queryset.exclude(state=State.RESOLVED)
        return queryset.filter(state=State.RESOLVED)


class IncidentViewSet(Listed, Created, Edited):
    """Incidents, newest first. Drafts are for keys that may write them."""

    scope = "incidents"
    serializer_class = IncidentSerializer
    filterset_class = IncidentFilters
    queryset = Incident.objects.current().order_by("-started_at", "-pk")

    def get_queryset(self) -> QuerySet[Incident]:
        impacts = Impact.objects.select_related("monitor").order_by("pk")
        found = super().get_queryset()
        if not may(self.request, "incidents:write"):
            found = found.exclude(published_at=None)
        return found.prefetch_related(Prefetch("impacts", impacts), "updates")

    @extend_schema(request=NewIncidentSerializer, responses={201: IncidentSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Open a public incident; whoever subscribed is told."""
        self.serializer_class = NewIncidentSerializer
        return super().create(request, *args, **kwargs)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take the incident back: nothing shows or tells of it any more."""
        self.get_object().delete_by_hand(at=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        operation_id="incidents_updates_list", responses=UpdateSerializer(many=True)
    )
    @action(detail=True, filterset_class=None)
    def updates(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The story, newest first."""
        written = self.get_object().updates.order_by("-at", "-pk")
        page: Iterable[IncidentUpdate] = self.paginate_queryset(written) or []
        return self.get_paginated_response(UpdateSerializer(page, many=True).data)

    @extend_schema(
        operation_id="incidents_updates_create",
        request=UpdateSerializer,
        responses={201: UpdateSerializer},
    )
    @updates.mapping.post
    def update_story(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Tell something new; RESOLVED ends the incident."""
        incident = self.get_object()
        told = UpdateSerializer(data=request.data)
        told.is_valid(raise_exception=True)
        written = incident.update(
            **{"at": timezone.now(), **told.validated_data}, author=_author(request)
        )
        return Response(UpdateSerializer(written).data, status.HTTP_201_CREATED)
