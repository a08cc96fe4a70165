from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    MOST_NUMBER,
    Created,
    Listed,
    RelatedField,
    StrictModelSerializer,
    TrueFalseFilter,
)
from monitors.corrections_api import author_of
from monitors.labels_api import LabelsField
from monitors.models import Monitor

from .models import AlertRule, Silence

TARGETS = ("silences_all", "monitors", "rules", "labels")


class SilenceSerializer(StrictModelSerializer):
    """A time in which alerts are noted and nobody is told of them.

    It is for every alert, or for monitors (by their tags, or by labels), or for
    rules; with both, for these rules on these monitors. With `weekdays`, 0 for
    Monday, it holds only on these days, from a time until another, in its zone;
    with the end not after the beginning it lasts over midnight.
    """

    instead = {
        "ended_at": "POST to end/ to end it.",
        "covers_now": "It follows from its times.",
    }
    monitors = RelatedField(
        queryset=Monitor.objects.current(),
        key="tag",
        child=serializers.CharField(max_length=100),
        required=False,
        help_text="Tags.",
    )
    rules = RelatedField(
        queryset=AlertRule.objects.current(),
        key="pk",
        child=serializers.IntegerField(min_value=1, max_value=MOST_NUMBER),
        required=False,
        help_text="Ids.",
    )
    labels = LabelsField(required=False)
    weekdays = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=6),
        required=False,
        max_length=7,
    )
    covers_now = serializers.SerializerMethodField()

    class Meta:
        model = Silence
        fields = [
            *("id", "reason", "silences_all", "monitors", "rules", "labels"),
            *("starts_at", "ends_at"),
            *("weekdays", "from_time", "until_time", "time_zone"),
            *("covers_now", "author", "created_at", "ended_at"),
        ]
        read_only_fields = ["author", "created_at", "ended_at"]

    def get_covers_now(self, silence: Silence) -> bool:
        return silence.covers(timezone.now())

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not any(attrs.get(name) for name in TARGETS):
            raise serializers.ValidationError({"monitors": [Silence.NO_TARGETS]})
        return super().validate(attrs)

    def create(self, validated_data: dict[str, Any]) -> Silence:
        named = {n: validated_data.pop(n, []) for n in ("monitors", "rules", "labels")}
        author = author_of(self.context["request"])
        silence = Silence.objects.create(**validated_data, author=author)
        for name, rows in named.items():
            getattr(silence, name).set(rows)
        return silence


class SilenceFilters(FilterSet):
    monitor = filters.CharFilter(
        method="of_monitor", help_text="A tag; also those for its labels, or for all."
    )
    lasting = TrueFalseFilter(method="that_last", help_text="Those that are not over.")

    class Meta:
        model = Silence
        fields: list[str] = []

    def of_monitor(
        self, queryset: QuerySet[Silence], name: str, tag: str
    ) -> QuerySet[Silence]:
        monitor = Monitor.objects.current().filter(tag=tag).first()
        found = Silence.objects.of_monitor(monitor) if monitor else queryset.none()
        return queryset.filter(pk__in=found.values("pk"))

    def that_last(
        self, queryset: QuerySet[Silence], name: str, is_so: bool
    ) -> QuerySet[Silence]:
        lasting = Silence.objects.lasting(timezone.now()).values("pk")
        found = queryset.filter(pk__in=lasting)
        return found if is_so else queryset.exclude(pk__in=lasting)


class SilenceViewSet(Listed, Created):
    """Silences, the latest first. None is deleted: it is ended."""

    scope = "alerting"
    serializer_class = SilenceSerializer
    filterset_class = SilenceFilters
    queryset = Silence.objects.order_by("-starts_at", "-pk")

    def get_queryset(self) -> QuerySet[Silence]:
        tags = Prefetch("monitors", Monitor.objects.only("pk", "tag").order_by("tag"))
        rules = Prefetch("rules", AlertRule.objects.only("pk").order_by("pk"))
        return super().get_queryset().prefetch_related(tags, rules, "labels")

    @extend_schema(operation_id="silences_end", request=None)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End it before its time; twice changes nothing."""
        silence = self.get_object()
        silence.end(at=timezone.now())
        return Response(self.shown(silence))
