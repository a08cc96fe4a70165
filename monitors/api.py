from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import (
    OpenApiExample,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    ConfigField,
    Created,
    Edited,
    Endpoint,
    KindSerializer,
    Listed,
    RelatedField,
    TrueFalseFilter,
)
from egress.kinds import ConfigInvalid

from . import latency
from .checkers import CHECKERS
from .checkers.base import kept
from .corrections_api import author_of
from .history import explain, shown
from .labels_api import LabelsField
from .models import IncidentSeverity, Monitor, Overlay, Prober, Status
from .models.period import SUMMED
from .pushing import Pushed, RowInvalid, push, pushed_row

TAKEN: Final = "There is already a monitor with this tag."
MOST_PUSHED: Final = 10_000
OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
OUTCOME: Final = ("status", "latency_ms", "error", "phases")


SEVERITIES: Final = [(one.name.lower(), one.label) for one in IncidentSeverity]


class SeverityField(serializers.ChoiceField):
    """minor, major or critical; kept as numbers, so that they can be compared."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"choices": SEVERITIES, **kwargs})

    def to_internal_value(self, data: Any) -> Any:
        return IncidentSeverity[super().to_internal_value(data).upper()]

    def to_representation(self, value: Any) -> str:
        return IncidentSeverity(value).name.lower()


class OwnerField(serializers.SlugRelatedField):
    """A user who may log in, by name."""

    default_error_messages = {"does_not_exist": "There is no user {value}."}

    def __init__(self, **kwargs: Any) -> None:
        users = get_user_model().objects.filter(is_active=True)
        super().__init__(**{"slug_field": "username", "queryset": users, **kwargs})


class MonitorSerializer(KindSerializer):
    """A monitor.

    `status` is what people are shown, incidents included; `raw_status` is what
    the newest check said, which may not be confirmed yet.
    """

    instead = {
        "status": "It follows from the checks.",
        "raw_status": "It follows from the checks.",
        "checked_at": "POST to check/ for a check.",
    }
    config = ConfigField(kinds=CHECKERS)
    status = serializers.SerializerMethodField()
    raw_status = serializers.ChoiceField(
        source="state.raw_status", choices=Status.choices, read_only=True
    )
    parents = RelatedField(
        queryset=Monitor.objects.current(),
        key="tag",
        child=serializers.CharField(max_length=100),
        required=False,
        max_length=100,
    )
    labels = LabelsField(required=False)
    owner = OwnerField(allow_null=True, required=False)
    incident_severity = SeverityField(allow_null=True, required=False)
    incident_drafts = serializers.BooleanField(
        allow_null=True,
        required=False,
        help_text="Whether automatic incidents begin as drafts; null leaves it open.",
    )
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
            "cron",
            "time_zone",
            "confirmations",
            "retry_interval",
            "degraded_counts",
            "parents",
            "labels",
            "owner",
            "incident_severity",
            "incident_drafts",
            "is_active",
            "status",
            "raw_status",
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

    def validate_parents(self, parents: list[Monitor]) -> list[Monitor]:
        if self.instance in parents:
            raise ValidationError("A monitor cannot be its own parent.")
        return parents

    def create(self, validated_data: dict[str, Any]) -> Monitor:
        parents = validated_data.pop("parents", [])
        labels = validated_data.pop("labels", [])
        monitor = _save(Monitor(**validated_data))
        monitor.depend_on(parents)
        if labels:
            monitor.label(labels)
        return monitor

    def update(self, instance: Monitor, validated_data: dict[str, Any]) -> Monitor:
        is_active = validated_data.pop("is_active", None)
        parents = validated_data.pop("parents", None)
        labels = validated_data.pop("labels", None)
        if parents is not None:
            instance.depend_on(parents)
        if labels is not None:
            instance.label(labels)
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


class AnswerSerializer(serializers.Serializer):
    """What the target answered: the first 4 KiB of it, secrets as ***."""

    code = serializers.IntegerField(read_only=True)
    headers = serializers.DictField(child=serializers.CharField(), read_only=True)
    body = serializers.CharField(read_only=True)


class OutcomeSerializer(serializers.Serializer):
    """What one check found. Latency and its phases are in milliseconds."""

    checked_at = serializers.DateTimeField(read_only=True)
    status = serializers.ChoiceField(choices=Status.choices, read_only=True)
    latency_ms = serializers.FloatField(read_only=True, allow_null=True)
    error = serializers.CharField(read_only=True)
    phases = serializers.DictField(child=serializers.FloatField(), read_only=True)
    answer = AnswerSerializer(read_only=True, allow_null=True)


class SecondsSerializer(serializers.Serializer):
    """Seconds of each status; together they are the time asked for."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {str(name): serializers.FloatField(read_only=True) for name in SUMMED}


class IntervalSerializer(serializers.Serializer):
    """A stretch of time with one status, as it enters the uptime."""

    status = serializers.ChoiceField(
        source="counted", choices=Status.choices, read_only=True
    )
    cause = serializers.CharField(read_only=True)
    corrected = serializers.BooleanField(source="is_corrected", read_only=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        # "from" is no name that Python knows.
        begin = serializers.DateTimeField(source="begin", read_only=True)
        end = serializers.DateTimeField(source="end", read_only=True)
        return {"from": begin, "to": end, **super().get_fields()}


class UptimeSerializer(serializers.Serializer):
    """A percentage with everything that it was computed from.

    `uptime` is null if no time counts. The intervals follow each other without
    a gap, and their seconds are those of `seconds`.
    """

    uptime = serializers.FloatField(read_only=True, allow_null=True)
    seconds = SecondsSerializer(read_only=True)
    formula = serializers.CharField(read_only=True)
    intervals = IntervalSerializer(source="segments", many=True, read_only=True)


class PointSerializer(serializers.Serializer):
    """The latencies of one step, in milliseconds; quantiles are within 1.5 %."""

    at = serializers.DateTimeField(read_only=True)
    count = serializers.IntegerField(read_only=True)
    avg = serializers.FloatField(read_only=True)
    min = serializers.FloatField(read_only=True)
    max = serializers.FloatField(read_only=True)
    p50 = serializers.FloatField(read_only=True)
    p95 = serializers.FloatField(read_only=True)
    p99 = serializers.FloatField(read_only=True)


class LatencySerializer(serializers.Serializer):
    points = PointSerializer(many=True, read_only=True)


class Span(serializers.Serializer):
    """The time asked for, as the query gives it; without it, what is usual."""

    usual: ClassVar = timedelta(days=90)

    def get_fields(self) -> dict[str, serializers.Field]:
        begin = serializers.DateTimeField(required=False, help_text="From when on.")
        end = serializers.DateTimeField(
            required=False, help_text="Until when; now if it is not given."
        )
        return {"from": begin, "to": end, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        end = attrs.setdefault("to", timezone.now())
        begin = attrs.setdefault("from", max(OLDEST, end - self.usual))
        if not OLDEST <= begin < end:
            raise ValidationError(
                {"from": "Give a moment before the end, and not before the year 2000."}
            )
        return attrs


class SpanOfSteps(Span):
    usual = timedelta(days=1)
    step = serializers.IntegerField(
        default=3600, min_value=1, max_value=366 * 86_400, help_text="Seconds."
    )


class PushSerializer(serializers.Serializer):
    """Observations in any order; the first one of a monitor and millisecond wins.

    Each is an object with `monitor` (a tag), `checked_at` (a moment; of UTC if
    it has no offset), `status` (up, degraded, partial, down or no_data), and if
    they are known `latency_ms` and `error`. One that is not so is refused by
    itself.
    """

    results = serializers.ListField(
        child=serializers.JSONField(), max_length=MOST_PUSHED
    )


class RefusedSerializer(serializers.Serializer):
    index = serializers.IntegerField(read_only=True, help_text="From 0.")
    reason = serializers.CharField(read_only=True)


class ReceiptSerializer(serializers.Serializer):
    """What became of the rows. What is accepted is stored."""

    accepted = serializers.IntegerField(read_only=True)
    duplicates = serializers.IntegerField(read_only=True)
    refused = RefusedSerializer(many=True, read_only=True)


class MonitorFilters(FilterSet):
    kind = filters.ChoiceFilter(choices=[(kind, kind) for kind in CHECKERS])
    is_active = TrueFalseFilter()
    label = filters.CharFilter(field_name="labels__name", help_text="Its name.")

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
        every = super().get_queryset().select_related("state", "owner")
        parents = Prefetch("parents", Monitor.objects.current().order_by("tag"))
        return every.prefetch_related(laid, parents, "labels")

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
        monitor, at = self.get_object(), timezone.now()
        try:
            outcome = monitor.probe()
        except ConfigInvalid as invalid:
            errors = {name: [text] for name, text in invalid.errors.items()}
            raise ValidationError({"config": errors}) from invalid
        said = {name: getattr(outcome, name) for name in OUTCOME}
        answer = kept(monitor.checker, outcome.answer) or None
        whole = {"checked_at": at, **said, "answer": answer}
        return Response(OutcomeSerializer(whole).data)

    @extend_schema(
        operation_id="monitors_uptime", parameters=[Span], responses=UptimeSerializer
    )
    @action(detail=True, filterset_class=None)
    def uptime(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the uptime of a time and all that it was computed from."""
        asked = _asked(Span, request)
        now = timezone.now()
        explained = explain(self.get_object(), asked["from"], asked["to"], at=now)
        return Response(UptimeSerializer(explained).data)

    @extend_schema(
        operation_id="monitors_latency",
        parameters=[SpanOfSteps],
        responses=LatencySerializer,
    )
    @action(detail=True, filterset_class=None)
    def latency(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return latencies step by step; a step without an answer has no point."""
        asked = _asked(SpanOfSteps, request)
        monitor, now = self.get_object(), timezone.now()
        try:
            found = latency.points(
                monitor, asked["from"], asked["to"], asked["step"], at=now
            )
        except latency.StepInvalid as invalid:
            raise ValidationError({"step": [str(invalid)]}) from invalid
        return Response(LatencySerializer({"points": found}).data)


def _asked(span: type[Span], request: Request) -> dict[str, Any]:
    """Read the query; what is not known is refused, as everywhere."""
    asked = span(data=request.query_params)
    if unknown := request.query_params.keys() - {*asked.fields, "format"}:
        text = f"There is no such parameter; there are {', '.join(asked.fields)}."
        raise ValidationError({name: [text] for name in sorted(unknown)})
    asked.is_valid(raise_exception=True)
    found: dict[str, Any] = asked.validated_data
    return found


class ResultsViewSet(Endpoint):
    scope = "results"
    serializer_class = PushSerializer
    queryset = Monitor.objects.none()
    most_bytes = 16 << 20

    @extend_schema(
        operation_id="results_push",
        request=PushSerializer,
        responses={202: ReceiptSerializer},
        examples=[
            OpenApiExample(
                "One result",
                request_only=True,
                value={
                    "results": [
                        {
                            "monitor": "shop",
                            "checked_at": "2026-11-20T10:00:00Z",
                            "status": "down",
                            "latency_ms": 12.5,
                            "error": "Connection refused",
                        }
                    ]
                },
            )
        ],
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Push what has been observed elsewhere, up to 10,000 rows.

        A row that cannot be taken is refused with its reason and stops no other.
        """
        rows = _rows(request.data)
        pushed, refused = _read(rows)
        by = Prober.named(author_of(request))
        receipt = push(pushed, by=by, at=timezone.now())
        reasons = sorted([*refused, *receipt.refused])
        answer = {
            "accepted": receipt.accepted,
            "duplicates": receipt.duplicates,
            "refused": [{"index": n, "reason": why} for n, why in reasons],
        }
        return Response(answer, status=status.HTTP_202_ACCEPTED)


def _rows(data: Any) -> list[Any]:
    """Return the rows of a request that has the shape of one."""
    if not isinstance(data, dict) or not isinstance(data.get("results"), list):
        raise ValidationError({"results": ["Give a list of results."]})
    if unknown := data.keys() - {"results"}:
        text = "There is no such field; there is results."
        raise ValidationError({str(name): [text] for name in sorted(unknown)})
    rows: list[Any] = data["results"]
    if len(rows) > MOST_PUSHED:
        text = (
            f"Give at most {MOST_PUSHED:,} results at a time; these are {len(rows):,}."
        )
        raise ValidationError({"results": [text]})
    return rows


def _read(rows: list[Any]) -> tuple[list[Pushed], list[tuple[int, str]]]:
    """Read each row by itself: one that is wrong is refused, not all of them."""
    pushed, refused = [], []
    for index, row in enumerate(rows):
        try:
            pushed.append(pushed_row(index, row))
        except RowInvalid as invalid:
            refused.append((index, str(invalid)))
    return pushed, refused
