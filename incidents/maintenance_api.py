import copy
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db.models import Prefetch, QuerySet
from django.http import Http404
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    MOST_NUMBER,
    Created,
    Edited,
    Listed,
    StrictModelSerializer,
    StrictSerializer,
    named,
)
from monitors import zones
from monitors.models import Monitor

from .models import Maintenance, MaintenanceImpact, Occurrence, OccurrenceUpdate
from .models.maintenance import MOST_MINUTES, MOST_REMINDERS, TIMES
from .recurrence import MOST_EXDATES, RecurrenceInvalid, check_exdates, part_exdates
from .serializers import WordsField

_NAMES = {"time_zone": "timezone"}


@extend_schema_field(OpenApiTypes.DATETIME)
class PlannedField(serializers.DateTimeField):
    """A moment of the years 1970 to 2099. Without an offset it is taken as UTC."""

    default_error_messages = {"year": "It must lie in the years 1970 to 2099."}

    def to_internal_value(self, value: Any) -> Any:
        moment = super().to_internal_value(value)
        if not 1970 <= moment.year < 2100:
            self.fail("year")
        return moment


@extend_schema_field(OpenApiTypes.DATETIME)
class LocalField(PlannedField):
    """The same; without an offset it stays as it is, to be read in a zone."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            return value
        at: datetime = super().enforce_timezone(value)
        return at


class WholeField(serializers.IntegerField):
    """A number of JSON; "5" is none."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool | str):
            self.fail("invalid")
        return super().to_internal_value(data)


class MaintenanceImpactSerializer(StrictSerializer):
    """A monitor, by its tag, and what the maintenance does to it."""

    tag = serializers.CharField(source="monitor.tag", max_length=100)
    impact = serializers.ChoiceField(
        source="level",
        choices=MaintenanceImpact.Level.choices,
        required=False,
        help_text="MAINTENANCE unless given; NONE only names the monitor.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "monitor" not in attrs:
            raise ValidationError({"tag": ["This field is required."]})
        return {"level": MaintenanceImpact.Level.MAINTENANCE, **attrs}


class MaintenanceSerializer(StrictModelSerializer):
    """What is planned: once, with `ends_at`, or by a rule, with `duration_minutes`.

    Times without an offset are read in `timezone`. `monitors`, `reminders` and
    `exdates` are given whole; EXDATE lines of the rule are added to those.
    """

    instead: ClassVar = {
        "schedule": "It follows from the rule.",
        "warnings": "They follow from the rule.",
    }
    title = serializers.CharField(max_length=255)
    description = WordsField(help_text="What people should know, in Markdown.")
    starts_at = LocalField()
    ends_at = LocalField(required=False, allow_null=True)
    timezone = serializers.CharField(
        source="time_zone", max_length=60, required=False, help_text="UTC unless given."
    )
    exdates = serializers.ListField(
        child=serializers.CharField(max_length=40),
        max_length=MOST_EXDATES,
        required=False,
        help_text="Dates on which it does not happen, such as 2026-12-25, or "
        "2026-12-25T02:00, with an offset if need be.",
    )
    monitors = MaintenanceImpactSerializer(many=True, required=False, source="impacts")
    reminders = serializers.ListField(
        child=WholeField(min_value=1, max_value=MOST_MINUTES),
        max_length=MOST_REMINDERS,
        required=False,
        help_text=f"Minutes before the start, up to {MOST_REMINDERS} of them; 1440 "
        "and 60 unless given.",
    )
    schedule = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()

    class Meta:
        model = Maintenance
        fields = [
            *("id", "title", "description", "starts_at", "ends_at"),
            *("rrule", "timezone", "duration_minutes", "wall_clock", "exdates"),
            *("schedule", "warnings", "monitors", "reminders", "sends_reminders"),
            *("verify_before_completion", "verify_minutes", "created_at"),
        ]
        read_only_fields = ["created_at"]

    def get_schedule(self, maintenance: Maintenance) -> str:
        """When it recurs, in words; empty if it happens once."""
        return maintenance.describe()

    def get_warnings(self, maintenance: Maintenance) -> list[str]:
        """What is allowed and may still not be meant."""
        return maintenance.warnings

    def validate_exdates(self, texts: list[str]) -> list[str]:
        try:
            check_exdates(texts)
        except RecurrenceInvalid as error:
            raise ValidationError(str(error)) from error
        return texts

    def validate_monitors(self, told: list[dict[str, Any]]) -> dict[Monitor, str]:
        levels = {item["monitor"]["tag"]: item["level"] for item in told}
        if len(levels) < len(told):
            raise ValidationError("Name each monitor once.")
        found = named(Monitor.objects.current(), "tag", list(levels))
        return {monitor: levels[tag] for tag, monitor in found.items()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        name = attrs.get("time_zone", getattr(self.instance, "time_zone", "UTC"))
        zone = ZoneInfo(name) if name in zones.names() else ZoneInfo("UTC")
        if "starts_at" in attrs:
            attrs |= _started(attrs["starts_at"], zone)
        if attrs.get("ends_at"):
            attrs["ends_at"] = _in_utc(attrs["ends_at"], zone)
        if "rrule" in attrs:
            attrs |= self._parted(attrs, zone)
        accepted = super().validate(attrs)
        if "exdates" in attrs:
            self._refuse_idle(accepted)
        return accepted

    def _parted(self, attrs: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
        """Return the rule alone, and its EXDATE lines with what is left out already."""
        try:
            rule, left_out = part_exdates(attrs["rrule"], zone.key)
        except RecurrenceInvalid as error:
            raise ValidationError({"rrule": [str(error)]}) from error
        if not left_out:
            return {}
        already = attrs.get("exdates", getattr(self.instance, "exdates", []))
        return {"rrule": rule, "exdates": [*dict.fromkeys([*already, *left_out])]}

    def _refuse_idle(self, accepted: dict[str, Any]) -> None:
        """What leaves out nothing was hardly meant so."""
        planned = copy.copy(self.instance) if self.instance else Maintenance()
        for name in {*TIMES} & accepted.keys():
            setattr(planned, name, accepted[name])
        if planned.recurs and (idle := planned.recurrence().idle_exdates):
            raise ValidationError({"exdates": idle})

    def _by_field(self, error: Any) -> dict[str, Any]:
        found = super()._by_field(error)
        return {_NAMES.get(name, name): why for name, why in found.items()}

    def create(self, validated_data: dict[str, Any]) -> Maintenance:
        impacts = validated_data.pop("impacts", None)
        planned = Maintenance(**validated_data)
        return planned.schedule(at=timezone.now(), impacts=impacts)

    def update(
        self, instance: Maintenance, validated_data: dict[str, Any]
    ) -> Maintenance:
        author = _author(self.context["request"])
        instance.revise(**validated_data, author=author, at=timezone.now())
        return instance


def _started(at: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Return the start, and what the clock of the zone shows, if that was given."""
    local = "" if at.tzinfo else at.replace(microsecond=0).isoformat()
    return {"starts_at": _in_utc(at, zone), "local_start": local}


def _in_utc(at: datetime, zone: ZoneInfo) -> datetime:
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


class OccurrenceSerializer(StrictModelSerializer):
    """One date of a maintenance: what is planned, and what has been."""

    class Meta:
        model = Occurrence
        fields = [
            *("id", "starts_at", "ends_at", "state", "started_at", "ended_at"),
            *("reason", "sequence", "url"),
        ]
        read_only_fields = fields


class MessageSerializer(StrictSerializer):
    """What people are told, in Markdown; the usual words if it is left out."""

    message = serializers.CharField(
        source="body", required=False, allow_blank=True, max_length=20_000
    )


class ExtendSerializer(MessageSerializer):
    """Until when it goes on; later than what is planned."""

    ends_at = PlannedField()


class MoveSerializer(ExtendSerializer):
    """When it is to happen instead."""

    starts_at = PlannedField()


class CancelSerializer(StrictSerializer):
    """Why it is called off; people read it."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=500)


class OccurrenceUpdateSerializer(StrictModelSerializer):
    """One entry of its story, in Markdown."""

    body = WordsField()

    class Meta:
        model = OccurrenceUpdate
        fields = ["id", "state", "body", "at"]
        read_only_fields = ["state", "at"]


class AlreadyDecided(APIException):
    """What was asked for is not possible any more."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "decided"


_DECIDED: Any = {
    200: OccurrenceSerializer,
    (409, "application/problem+json"): OpenApiTypes.OBJECT,
}


def _author(request: Request) -> User | None:
    return request.user if isinstance(request.user, User) else None


class MaintenanceFilters(FilterSet):
    monitor = filters.CharFilter(field_name="impacts__monitor__tag", help_text="A tag.")

    class Meta:
        model = Maintenance
        fields: list[str] = []


class MaintenanceViewSet(Listed, Created, Edited):
    """Planned maintenances, newest first."""

    scope = "incidents"
    serializer_class = MaintenanceSerializer
    filterset_class = MaintenanceFilters
    queryset = Maintenance.objects.current().order_by("-pk")

    def get_queryset(self) -> QuerySet[Maintenance]:
        impacts = MaintenanceImpact.objects.select_related("monitor").order_by("pk")
        return super().get_queryset().prefetch_related(Prefetch("impacts", impacts))

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take it out of service; what is planned or under way is cancelled."""
        self.get_object().retire(at=timezone.now(), author=_author(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class _OccurrenceFilters(FilterSet):
    state = filters.ChoiceFilter(choices=Occurrence.State.choices)

    class Meta:
        model = Occurrence
        fields: list[str] = []


# "from" is no name that Python knows.
_metaclass: Any = type(_OccurrenceFilters)
OccurrenceFilters: type[FilterSet] = _metaclass(
    "OccurrenceFilters",
    (_OccurrenceFilters,),
    {
        "from": filters.IsoDateTimeFilter(
            field_name="ends_at", lookup_expr="gt", help_text="Not over by then."
        ),
        "to": filters.IsoDateTimeFilter(
            field_name="starts_at", lookup_expr="lt", help_text="Begun before that."
        ),
    },
)

_OF_MAINTENANCE = OpenApiParameter(
    "id", OpenApiTypes.INT, OpenApiParameter.PATH, description="The maintenance."
)


@extend_schema(parameters=[_OF_MAINTENANCE])
class OccurrenceViewSet(Listed):
    """The dates of a maintenance, in their order."""

    scope = "incidents"
    serializer_class = OccurrenceSerializer
    filterset_class = OccurrenceFilters
    lookup_url_kwarg = "occurrence"
    queryset = Occurrence.objects.filter(maintenance__retired_at=None).order_by(
        "starts_at", "pk"
    )

    def get_queryset(self) -> QuerySet[Occurrence]:
        number = int(self.kwargs.get("id", 0))
        current = Maintenance.objects.current()
        if number > MOST_NUMBER or not current.filter(pk=number).exists():
            raise Http404
        return super().get_queryset().filter(maintenance=number)

    @extend_schema(request=MessageSerializer, responses=_DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def start(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Begin now, before its time if need be. Again does nothing."""
        return self._turn(MessageSerializer, "start", "IN_PROGRESS")

    @extend_schema(request=ExtendSerializer, responses=_DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def extend(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Let it end later; what is being verified goes on."""
        return self._turn(ExtendSerializer, "extend")

    @extend_schema(request=MoveSerializer, responses=_DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def move(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Plan it for another time, before it has begun."""
        return self._turn(MoveSerializer, "move")

    @extend_schema(request=MessageSerializer, responses=_DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def verify(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The work is done, and it is looked at whether it works."""
        return self._turn(MessageSerializer, "verify", "VERIFYING")

    @extend_schema(request=MessageSerializer, responses=_DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def complete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End it now. Again does nothing."""
        return self._turn(MessageSerializer, "complete", "COMPLETED")

    @extend_schema(request=CancelSerializer, responses=_DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def cancel(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Call it off, before it begins or under way. Again does nothing."""
        return self._turn(CancelSerializer, "cancel", "CANCELLED")

    def _turn(
        self, asked: type[serializers.Serializer], name: str, wanted: str = ""
    ) -> Response:
        """Do what is asked; 409 if it is neither possible nor so already."""
        occurrence = self.get_object()
        said = asked(data=self.request.data)
        said.is_valid(raise_exception=True)
        turn = getattr(occurrence, name)
        facts = {"at": timezone.now(), "author": _author(self.request)}
        if not turn(**said.validated_data, **facts):
            occurrence.refresh_from_db()
            if occurrence.state != wanted:
                is_so = occurrence.get_state_display().lower()
                raise AlreadyDecided(f"This is not possible: it is {is_so}.")
        return Response(self.shown(occurrence))

    @extend_schema(
        operation_id="maintenances_occurrences_updates_list",
        responses=OccurrenceUpdateSerializer(many=True),
    )
    @action(detail=True, filterset_class=None)
    def updates(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The story, newest first."""
        written = self.get_object().updates.order_by("-at", "-pk")
        page: Iterable[OccurrenceUpdate] = self.paginate_queryset(written) or []
        shown = OccurrenceUpdateSerializer(page, many=True).data
        return self.get_paginated_response(shown)

    @extend_schema(
        operation_id="maintenances_occurrences_updates_create",
        request=OccurrenceUpdateSerializer,
        responses={201: OccurrenceUpdateSerializer},
    )
    @updates.mapping.post
    def update_story(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Tell something new; the state stays."""
        occurrence = self.get_object()
        told = OccurrenceUpdateSerializer(data=request.data)
        told.is_valid(raise_exception=True)
        facts = {"at": timezone.now(), "author": _author(request)}
        written = occurrence.note(told.validated_data["body"], **facts)
        shown = OccurrenceUpdateSerializer(written).data
        return Response(shown, status.HTTP_201_CREATED)
