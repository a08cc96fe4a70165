"""What Prometheus reads: how the monitors are, and how Tocsin itself is.

All of it is read from the database, so that it is the same whichever process
answers. Names and meanings are those of blackbox_exporter where there are any.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import OuterRef, Subquery, Sum
from django.http import HttpResponse
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from monitors import gauges
from monitors.history import shown
from monitors.models import CheckResult, MonitorState, Overlay, Status
from monitors.models.result import unpacked

OF_MONITOR: Final = ("tag", "name", "kind")
# What blackbox_exporter calls the phases of a result.
PHASES: Final = {
    "dns": "resolve",
    "connect": "connect",
    "tls": "tls",
    "first_byte": "processing",
    "transfer": "transfer",
}
QUANTILES: Final = {"0.5": "p50", "0.95": "p95"}


class Seen(NamedTuple):
    """A monitor in service as its newest check found it; latency in ms."""

    pk: int
    tag: str
    name: str
    kind: str
    status: str
    raw_status: str
    fresh_until: datetime | None
    latency_ms: float | None
    phases: bytes | None

    @property
    def labels(self) -> tuple[str, str, str]:
        return self.tag, self.name, self.kind


class TocsinCollector(Collector):
    """Reads a number of statements that does not grow with the monitors."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        seen = [Seen(*row) for row in newest_results()]
        stale = {m.pk for m in seen if m.fresh_until and m.fresh_until < now}
        fresh = [m for m in seen if m.pk not in stale]
        yield from of_checks([m for m in fresh if m.raw_status != Status.NO_DATA])
        yield by_status(seen, stale, now)
        yield from of_ourselves()


def newest_results() -> Iterable[tuple[Any, ...]]:
    """Every monitor in service, with the phases of its newest result."""
    newest = CheckResult.objects.filter(
        monitor=OuterRef("pk"), checked_at=OuterRef("checked_at")
    )
    active = MonitorState.objects.filter(
        monitor__is_active=True, monitor__retired_at=None
    )
    return active.order_by("pk").values_list(
        *("pk", "monitor__tag", "monitor__name", "monitor__kind"),
        *("status", "raw_status", "fresh_until", "latency_ms"),
        Subquery(newest.values("packed_phases")[:1]),
    )


def of_checks(seen: Iterable[Seen]) -> Iterator[Metric]:
    """Yield what the newest checks found; where nobody could look, nothing."""
    success = GaugeMetricFamily(
        "probe_success",
        "Whether the newest check did not find the monitor down.",
        labels=OF_MONITOR,
    )
    duration = GaugeMetricFamily(
        "probe_duration_seconds", "How long the newest check took.", labels=OF_MONITOR
    )
    lookup = GaugeMetricFamily(
        "probe_dns_lookup_time_seconds",
        "How long the newest check took to look the name up.",
        labels=OF_MONITOR,
    )
    phases = GaugeMetricFamily(
        "probe_http_duration_seconds",
        "How long each phase of the newest HTTP check took.",
        labels=[*OF_MONITOR, "phase"],
    )
    for monitor in seen:
        labels = monitor.labels
        success.add_metric(labels, monitor.raw_status != Status.DOWN)
        if monitor.latency_ms is not None:
            duration.add_metric(labels, monitor.latency_ms / 1000)
        if took := unpacked(monitor.phases, monitor.latency_ms):
            lookup.add_metric(labels, took.get("dns", 0.0) / 1000)
            for phase, name in PHASES.items():
                phases.add_metric((*labels, name), took.get(phase, 0.0) / 1000)
    yield from (success, duration, lookup, phases)


def by_status(seen: Iterable[Seen], stale: set[int], now: datetime) -> Metric:
    """Count the monitors by the status that people are shown."""
    laid: dict[int, list[Overlay]] = {}
    for overlay in Overlay.objects.over(now, now):
        laid.setdefault(overlay.monitor_id, []).append(overlay)
    counts = dict.fromkeys(Status.values, 0)
    for monitor in seen:
        status = Status.NO_DATA if monitor.pk in stale else monitor.status
        counts[shown(status, laid.get(monitor.pk, ()))] += 1
    family = GaugeMetricFamily(
        "tocsin_monitors",
        "Monitors in service by the status that people are shown.",
        labels=["status"],
    )
    for status, count in counts.items():
        family.add_metric([status], count)
    return family


def of_ourselves() -> Iterator[Metric]:
    found = gauges.read()
    # Positions only grow, and those of retired monitors stay.
    checks = MonitorState.objects.aggregate(sum=Sum("last_result"))["sum"]
    yield CounterMetricFamily(
        "tocsin_checks",
        "Results of checks that have been recorded, pushed ones included.",
        value=checks or 0,
    )
    yield gauge(
        "tocsin_checks_per_second",
        "Checks started a second, over the last five whole minutes.",
        found["checks_per_second"],
    )
    yield quantiles(
        "tocsin_check_lateness_seconds",
        "From when checks were due to their start, over the last five whole minutes.",
        {q: found[f"lateness_{name}_ms"] for q, name in QUANTILES.items()},
    )
    yield quantiles(
        "tocsin_flush_seconds",
        "How long it took to write results down, over the last five whole minutes.",
        {q: found[f"flush_{name}_ms"] for q, name in QUANTILES.items()},
    )
    for name, about in WAITS.items():
        yield gauge(f"tocsin_{name}", about, found[name])


WAITS: Final = {
    "oldest_due_monitor_seconds": "How long a monitor has been due and nobody has "
    "taken it.",
    "oldest_unannounced_transition_seconds": "How long a change of an alert has "
    "waited to be announced.",
    "oldest_unsent_message_seconds": "How long a message has been due and nobody has "
    "tried it.",
}


def gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)


def quantiles(name: str, about: str, values: Mapping[str, float]) -> Metric:
    """Make a gauge from milliseconds; what could not be measured is left out."""
    family = GaugeMetricFamily(name, about, labels=["quantile"])
    for q, value in values.items():
        if not math.isnan(value):
            family.add_metric([q], value / 1000)
    return family


registry: Final = CollectorRegistry()
registry.register(TocsinCollector())


class AsItComes(BaseContentNegotiation):
    """Whatever is accepted: the view itself chooses between its two formats."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class Metrics(APIView):
    """A page for Prometheus, refused as the API refuses."""

    scope = "metrics"
    content_negotiation_class = AsItComes
    schema = None

    def get(self, request: Request) -> HttpResponse:
        if wants_openmetrics(request):
            text = openmetrics.generate_latest(registry)
            return HttpResponse(text, content_type=openmetrics.CONTENT_TYPE_LATEST)
        return HttpResponse(
            generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4
        )


def wants_openmetrics(request: Request) -> bool:
    """Whether OpenMetrics 1.0.0 comes before plain text in what is accepted."""
    for accepted in request.accepted_types:
        kind = f"{accepted.main_type}/{accepted.sub_type}"
        if kind == "application/openmetrics-text":
            if accepted.params.get("version", "1.0.0") == "1.0.0":
                return True
        elif kind in ("text/plain", "text/*", "*/*"):
            return False
    return False
