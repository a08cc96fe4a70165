"""Rules tried on the past over the API; alerting/api.py is about the rules."""

import copy
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import Endpoint, PastField
from alerting.api import AlertRuleSerializer
from alerting.models import AlertRule
from alerting.simulation import Simulated, TooMuch, simulate
from monitors.models import Monitor

from . import simulation  # noqa: F401  makes the incidents of what is simulated


class TrialSerializer(AlertRuleSerializer):
    """A rule to be tried, not saved, and the time to try it on: seven days unless
    it is given.
    """

    USUAL: ClassVar = timedelta(days=7)

    class Meta(AlertRuleSerializer.Meta):
        fields = [
            name
            for name in AlertRuleSerializer.Meta.fields
            if name not in {"id", "created_at"}
        ]
        read_only_fields: list[str] = []
        extra_kwargs = {"name": {"required": False}}

    def get_fields(self) -> dict[str, serializers.Field]:
        begin = PastField(required=False, help_text="From when on.")
        end = PastField(required=False, help_text="Until when; now if not given.")
        return {**super().get_fields(), "from": begin, "to": end}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        end = attrs.setdefault("to", timezone.now())
        begin = attrs.setdefault("from", max(PastField.OLDEST, end - self.USUAL))
        if begin >= end:
            raise ValidationError({"from": ["Give a moment before the end."]})
        return attrs

    def run(self) -> Simulated:
        """Try it; raises ValidationError for more than can be tried at once."""
        given = dict(self.validated_data)
        begin, end = given.pop("from"), given.pop("to")
        monitors = list(self._monitors(given))
        rule = copy.copy(self.instance) if self.instance else AlertRule()
        for name in given.keys() - {"monitors", "labels", "triggers"}:
            setattr(rule, name, given[name])
        return _simulate(rule, monitors, begin, end)

    def _monitors(self, given: dict[str, Any]) -> QuerySet[Monitor]:
        current = Monitor.objects.current().defer("config")
        if given.get("watches_all", getattr(self.instance, "watches_all", False)):
            return current
        monitors, labels = (self._rows(given, n) for n in ("monitors", "labels"))
        asked = Q(pk__in=[m.pk for m in monitors]) | Q(labels__in=labels)
        return current.filter(asked).distinct()

    def _rows(self, given: dict[str, Any], name: str) -> list[Any]:
        if name in given or not self.instance:
            return list(given.get(name, []))
        return list(getattr(self.instance, name).all())


def _simulate(
    rule: AlertRule, monitors: list[Monitor], begin: datetime, end: datetime
) -> Simulated:
    try:
        return simulate(rule, monitors, begin, end)
    except TooMuch as much:
        raise ValidationError({"from": [str(much)]}) from much


class TagOf(serializers.CharField):
    """The tag of a row's monitor."""

    def __init__(self) -> None:
        super().__init__(source="monitor.tag", read_only=True)


class SimulatedAlertSerializer(serializers.Serializer):
    """An alert that there would have been. `told_at` is later than
    `triggered_at` if a gate held it back, and null if nobody would have heard.
    """

    monitor = TagOf()
    began_at = serializers.DateTimeField(read_only=True)
    triggered_at = serializers.DateTimeField(read_only=True)
    told_at = serializers.DateTimeField(read_only=True, allow_null=True)
    resolved_at = serializers.DateTimeField(read_only=True, allow_null=True)
    observed = serializers.CharField(read_only=True)
    reason = serializers.CharField(read_only=True)


class SimulatedIncidentSerializer(serializers.Serializer):
    monitor = TagOf()
    started_at = serializers.DateTimeField(read_only=True)
    ended_at = serializers.DateTimeField(read_only=True, allow_null=True)


class SimulatedDecisionSerializer(serializers.Serializer):
    """Why something that might have become an alert or incident would not have."""

    monitor = TagOf()
    gate = serializers.CharField(read_only=True)
    verdict = serializers.CharField(read_only=True)
    reason = serializers.CharField(read_only=True)
    at = serializers.DateTimeField(read_only=True)
    began_at = serializers.DateTimeField(read_only=True)
    times = serializers.IntegerField(read_only=True)


class CountsSerializer(serializers.Serializer):
    """How many there would have been; of more than are listed, too."""

    alerts = serializers.IntegerField(read_only=True)
    incidents = serializers.IntegerField(read_only=True)
    decisions = serializers.IntegerField(read_only=True)


class SimulatedSerializer(serializers.Serializer):
    """What a rule would have done, oldest first: the newest 1,000 alerts and
    incidents and the newest 500 decisions; `counts` are of all. `results` were
    replayed, the oldest of them of `data_from`.
    """

    alerts = SimulatedAlertSerializer(source="newest_alerts", many=True, read_only=True)
    incidents = SimulatedIncidentSerializer(
        source="newest_incidents", many=True, read_only=True
    )
    decisions = SimulatedDecisionSerializer(many=True, read_only=True)
    counts = CountsSerializer(read_only=True)
    results = serializers.IntegerField(read_only=True)
    data_from = serializers.DateTimeField(read_only=True, allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        # "from" is no name that Python knows.
        begin = serializers.DateTimeField(source="begin", read_only=True)
        end = serializers.DateTimeField(source="end", read_only=True)
        return {"from": begin, "to": end, **super().get_fields()}


class TrialViewSet(Endpoint):
    """Rules tried on the past. Nothing is saved, and nobody is told."""

    scope = "alerting"
    serializer_class = TrialSerializer
    queryset = AlertRule.objects.current()

    @extend_schema(
        operation_id="alert_rules_simulate", responses={200: SimulatedSerializer}
    )
    @action(detail=False, methods=["post"], url_path="simulate")
    def simulate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Say what a rule would have done."""
        return self._answer(self.get_serializer(data=request.data))

    @extend_schema(
        operation_id="alert_rules_simulate_changes",
        responses={200: SimulatedSerializer},
    )
    @action(detail=True, methods=["post"], url_path="simulate")
    def simulate_changes(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Say what a saved rule would have done with changes; they are not saved."""
        rule = self.get_object()
        trial = self.get_serializer(rule, data=request.data, partial=True)
        return self._answer(trial)

    def _answer(self, trial: serializers.BaseSerializer[Any]) -> Response:
        trial.is_valid(raise_exception=True)
        assert isinstance(trial, TrialSerializer)
        return Response(SimulatedSerializer(trial.run()).data)
