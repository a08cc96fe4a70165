from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from access.forms import KindForm, kind_fieldsets, kind_form
from egress.kinds import ConfigInvalid

from .checkers import CHECKERS, Outcome
from .models import CheckResult, Monitor, Status, StatusPeriod

AT_ONCE = 20
SHOWN = 20


class MonitorForm(KindForm):
    class Meta:
        model = Monitor
        fields = ["name", "tag", "kind", "interval", "is_active"]
        labels = {"is_active": "Active"}

    def clean_tag(self) -> str:
        # The constraint looks at a field that is not in the form, so that
        # Django's own validation passes over it.
        tag: str = self.cleaned_data["tag"]
        others = Monitor.objects.current().exclude(pk=self.instance.pk)
        if others.filter(tag=tag).exists():
            raise ValidationError("There is already a monitor with this tag.")
        return tag


@admin.register(Monitor)
class MonitorAdmin(desk.Retiring):
    actions = ["check_now", "pause", "resume"]
    list_display = [
        "name",
        "status",
        "tag",
        "kind",
        "every",
        "checked",
        "latency",
        "reason",
    ]
    list_filter = [
        "state__status",
        "is_active",
        "kind",
        ("state__checked_at", admin.DateFieldListFilter),
        desk.RetiredFilter,
    ]
    list_select_related = ["state"]
    search_fields = ["name", "tag", "config_text"]
    search_help_text = "A name, a tag or a part of the address"
    prepopulated_fields = {"tag": ["name"]}
    lede = "What is being watched, and how it is."
    consequence = (
        "It is checked no more and leaves all pages and rules; open alerts resolve "
        "and their incidents close. Its history stays, and its tag is free again."
    )

    class Media:
        js = ["config/kinds.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Monitor]:
        text = Cast("config", TextField())
        return super().get_queryset(request).annotate(config_text=text)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ["name", "tag", "kind", "interval", "is_active"]
        return [(None, {"fields": fields}), *kind_fieldsets(CHECKERS)]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        kwargs["form"] = kind_form(CHECKERS, MonitorForm)
        return super().get_form(request, obj, change, **kwargs)

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Any = None
    ) -> dict[str, Sequence[str]]:
        # An existing tag is an address that others use.
        return {} if obj else dict(self.prepopulated_fields)

    def save_model(
        self, request: HttpRequest, obj: Monitor, form: Any, change: bool
    ) -> None:
        """Save; pausing and resuming are the model's own."""
        wanted = obj.is_active
        if change:
            obj.is_active = form.initial["is_active"]
        obj.save()
        if change and wanted != obj.is_active:
            turn = obj.resume if wanted else obj.pause
            turn(at=timezone.now())

    def object_actions(self, shown: Monitor) -> list[desk.ObjectAction]:
        if shown.retired_at:
            return []
        pause = desk.ObjectAction("pause", "Pause")
        resume = desk.ObjectAction("resume", "Resume")
        return [
            desk.ObjectAction("check_now", "Check now"),
            pause if shown.is_active else resume,
        ]

    @admin.action(description="Check now", permissions=["operate"])
    def check_now(
        self, request: HttpRequest, queryset: QuerySet[Monitor]
    ) -> HttpResponse:
        """Ask the targets now and show all that came of it."""
        monitors = list(queryset[:AT_ONCE])
        with ThreadPoolExecutor(max(1, len(monitors))) as pool:
            outcomes = list(pool.map(probe, monitors))
        rows = [
            outcome_row(monitor, outcome)
            for monitor, outcome in zip(monitors, outcomes, strict=True)
        ]
        heads = ["Monitor", "Outcome", "Latency", "Phases", "Reason"]
        context = {
            **self.admin_site.each_context(request),
            "title": "Checked just now",
            "opts": self.opts,
            "lede": "Nothing of this enters the history, and no rule counts it.",
            "panel": desk.table("Outcomes", heads, rows),
            "back": desk.came_from(request),
        }
        return TemplateResponse(request, "admin/outcome.html", context)

    @admin.action(description="Pause", permissions=["operate"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Monitor]) -> None:
        paused = [m for m in queryset if m.pause(at=timezone.now())]
        outcome = "paused; open alerts are resolved."
        self.note_changes(request, paused, "Paused.", outcome)

    @admin.action(description="Resume", permissions=["operate"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Monitor]) -> None:
        resumed = [m for m in queryset if m.resume(at=timezone.now())]
        outcome = "watched again, counting from zero."
        self.note_changes(request, resumed, "Resumed.", outcome)

    @admin.display(description="Status", ordering="state__status")
    def status(self, monitor: Monitor) -> SafeString:
        return shown_status(monitor)

    @admin.display(description="Interval", ordering="interval")
    def every(self, monitor: Monitor) -> str:
        return desk.length(monitor.interval)

    @admin.display(description="Last check", ordering="state__checked_at")
    def checked(self, monitor: Monitor) -> SafeString:
        return desk.moment(monitor.state.checked_at, ago=True)

    @admin.display(description="Latency", ordering="state__latency_ms")
    def latency(self, monitor: Monitor) -> str | SafeString:
        return milliseconds(monitor.state.latency_ms)

    @admin.display(description="Reason")
    def reason(self, monitor: Monitor) -> str | SafeString:
        return monitor.state.error or desk.NOTHING


class MonitorInline(admin.TabularInline):
    """Rows that each name a monitor in service."""

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "monitor":
            kwargs["queryset"] = Monitor.objects.current()
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        return desk.unlinked(field)


def shown_status(monitor: Monitor) -> SafeString:
    """The status as it is now, or why there is none."""
    if monitor.retired_at:
        return desk.state("no_data", "Deleted")
    if not monitor.is_active:
        return desk.state("no_data", "Paused")
    return status_of(monitor.state.status)


def status_of(status: str) -> SafeString:
    return desk.state(status, str(Status(status).label))


def milliseconds(latency: float | None) -> str | SafeString:
    return desk.NOTHING if latency is None else f"{latency:,.0f} ms"


def probe(monitor: Monitor) -> Outcome:
    try:
        return monitor.probe()
    except (ConfigInvalid, KeyError) as error:
        return Outcome(Status.NO_DATA, error=f"Its config does not fit: {error}")


def outcome_row(monitor: Monitor, outcome: Outcome) -> Sequence[object]:
    phases = (f"{name} {value:,.0f} ms" for name, value in outcome.phases.items())
    return [
        desk.link(monitor),
        status_of(outcome.status),
        milliseconds(outcome.latency_ms),
        ", ".join(phases) or desk.NOTHING,
        outcome.error or desk.NOTHING,
    ]


def results(request: HttpRequest, monitor: Monitor) -> str:
    return desk.table(
        "Latest checks",
        ["At", "Status", "Latency", "Reason"],
        (result_row(result) for result in monitor.results.all()[:SHOWN]),
        note=f"The last {SHOWN}",
        empty="It has not been checked yet.",
    )


def result_row(result: CheckResult) -> Sequence[object]:
    return [
        desk.moment(result.checked_at),
        status_of(result.status),
        milliseconds(result.latency_ms),
        result.error or desk.NOTHING,
    ]


def periods(request: HttpRequest, monitor: Monitor) -> str:
    newest = monitor.periods.order_by("-started_at", "-pk")[:SHOWN]
    return desk.table(
        "History of its status",
        ["From", "Until", "Status", "Because"],
        (period_row(period) for period in newest),
        note="What uptime and bars are made of",
    )


def period_row(period: StatusPeriod) -> Sequence[object]:
    end = period.ended_at or timezone.now()
    lasted = desk.length((end - period.started_at).total_seconds())
    until = desk.moment(period.ended_at) if period.ended_at else "now"
    return [
        desk.moment(period.started_at),
        format_html("{}<small>{}</small>", until, lasted),
        status_of(period.status),
        period.cause or desk.NOTHING,
    ]


desk.add_panel(Monitor, results)
desk.add_panel(Monitor, periods)
