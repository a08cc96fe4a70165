from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from access import asking, desk
from access.forms import kind_fieldsets, kind_form
from egress.kinds import ConfigInvalid

from . import (
    corrections_admin,  # noqa: F401  registers its own pages
    explained,
    labels_admin,  # noqa: F401  the same
    panels,
)
from .checkers import CHECKERS, Outcome
from .forms import AddLabelForm, MonitorForm
from .models import Label, Monitor, Status
from .panels import milliseconds, shown_status, status_of

AT_ONCE = 20
Mark = Callable[[Monitor], str]
_marks: list[Mark] = []


def add_mark(mark: Mark) -> None:
    """Have an upper app say something in a few words beside the status."""
    _marks.append(mark)


def marks(monitor: Monitor) -> str:
    said = [panels.unconfirmed(monitor), *(mark(monitor) for mark in _marks)]
    return ", ".join(words for words in said if words)


@admin.register(Monitor)
class MonitorAdmin(desk.Retiring):
    actions = ["check_now", "pause", "resume", "add_label"]
    list_display = [
        "name",
        "status",
        "tag",
        "kind",
        "every",
        "checked",
        "latency",
        "reason",
        "labelled",
    ]
    list_filter = [
        "state__status",
        "is_active",
        "kind",
        "labels",
        ("state__checked_at", admin.DateFieldListFilter),
        desk.RetiredFilter,
    ]
    list_select_related = ["state"]
    search_fields = ["name", "tag", "config_text"]
    search_help_text = "A name, a tag or a part of the address"
    prepopulated_fields = {"tag": ["name"]}
    filter_horizontal = ["parents"]
    fieldsets = [
        (None, {"fields": ["name", "tag", "kind", "is_active", "labels", "owner"]}),
        *kind_fieldsets(CHECKERS),
        (
            "When it is checked",
            {
                "fields": ["interval", "cron", "time_zone"],
                "description": "Every so many seconds, or at the moments that a cron "
                "expression names.",
            },
        ),
        (
            "When another status is shown",
            {"fields": ["confirmations", "retry_interval"]},
        ),
        ("Uptime and parents", {"fields": ["degraded_counts", "parents"]}),
        (
            "Its incidents",
            {
                "fields": ["incident_severity", "incident_drafts"],
                "description": "Of those that open by themselves.",
            },
        ),
    ]
    lede = "What is being watched, and how it is."
    consequence = (
        "It is checked no more and leaves all pages and rules; open alerts resolve "
        "and their incidents close. Its history stays, and its tag is free again."
    )

    class Media:
        js = ["config/kinds.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Monitor]:
        text = Cast("config", TextField())
        monitors = super().get_queryset(request).prefetch_related("labels")
        return monitors.annotate(config_text=text)

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

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        """Depend on what was chosen: workers are to know of it at once."""
        if "parents" in form.changed_data:
            form.instance.depend_on(form.cleaned_data["parents"])
        if "labels" in form.changed_data:
            form.instance.label(form.cleaned_data["labels"])

    # The page of one monitor

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.explained_view)
        name = "monitors_monitor_explained"
        return [path("<int:pk>/explained/", view, name=name), *super().get_urls()]

    def explained_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What the uptime of a monitor is made of."""
        monitor = get_object_or_404(Monitor, pk=pk)
        if not self.has_view_or_change_permission(request, monitor):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Uptime explained",
            "opts": self.opts,
            "original": monitor,
            "panels": [panels.corrections(request, monitor)],
            **explained.context_of(request, monitor, timezone.now()),
        }
        template = "admin/monitors/monitor/explained.html"
        return TemplateResponse(request, template, context)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            status, *others = panels.figures(obj, timezone.now())
            context["figures"] = [status._replace(small=marks(obj)), *others]
            context["explained"] = panels.explained_address(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def object_actions(self, shown: Monitor) -> list[desk.ObjectAction]:
        if shown.retired_at:
            return []
        pause = desk.ObjectAction("pause", "Pause")
        resume = desk.ObjectAction("resume", "Resume")
        return [
            desk.ObjectAction("check_now", "Check now"),
            pause if shown.is_active else resume,
        ]

    # What can be done with some

    @admin.action(description="Check now", permissions=["operate"])
    def check_now(
        self, request: HttpRequest, queryset: QuerySet[Monitor]
    ) -> HttpResponse:
        """Ask the targets now and show all that came of it."""
        monitors = list(queryset[:AT_ONCE])
        with ThreadPoolExecutor(max(1, len(monitors))) as pool:
            outcomes = list(pool.map(probe, monitors))
        found = list(zip(monitors, outcomes, strict=True))
        rows = [outcome_row(monitor, outcome) for monitor, outcome in found]
        heads = ["Monitor", "Outcome", "Latency", "Phases", "Reason"]
        context = {
            **self.admin_site.each_context(request),
            "title": "Checked just now",
            "opts": self.opts,
            "lede": "Nothing of this enters the history, and no rule counts it.",
            "panel": desk.table("Outcomes", heads, rows) + panels.answers(found),
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

    @admin.action(description="Add label…", permissions=["operate"])
    def add_label(
        self, request: HttpRequest, queryset: QuerySet[Monitor]
    ) -> HttpResponse | None:
        """Give monitors one more label, once that is chosen."""
        form = AddLabelForm(request.POST if asking.is_confirmed(request) else None)
        if not form.is_valid():
            return self._ask_which(request, list(queryset), form)
        label = form.chosen()
        others = queryset.exclude(labels=label)
        changed = [m for m in others if _add(m, label)]
        note = f"Labelled {label}."
        self.note_changes(request, changed, note, f"labelled {label}.")
        return None

    def _ask_which(
        self, request: HttpRequest, found: Sequence[Monitor], form: AddLabelForm
    ) -> HttpResponse:
        return asking.ask(
            self,
            request,
            found,
            action="add_label",
            title=f"Label {desk.count(len(found), 'monitor')}",
            lede="Rules and silences for that label hold for them at once.",
            form=form,
            submit="Add label",
        )

    # In columns

    @admin.display(description="Status", ordering="state__status")
    def status(self, monitor: Monitor) -> SafeString:
        said = marks(monitor)
        small = format_html("<small>{}</small>", said) if said else ""
        return format_html("{}{}", shown_status(monitor), small)

    @admin.display(description="Labels")
    def labelled(self, monitor: Monitor) -> str | SafeString:
        return ", ".join(map(str, monitor.labels.all())) or desk.NOTHING

    @admin.display(description="Interval", ordering="interval")
    def every(self, monitor: Monitor) -> str | SafeString:
        if not monitor.cron:
            return desk.length(monitor.interval)
        said = "<code>{}</code><small>{}</small>"
        return format_html(said, monitor.cron, monitor.time_zone)

    @admin.display(description="Last check", ordering="state__checked_at")
    def checked(self, monitor: Monitor) -> SafeString:
        return desk.moment(monitor.state.checked_at, ago=True)

    @admin.display(description="Latency", ordering="state__latency_ms")
    def latency(self, monitor: Monitor) -> str | SafeString:
        return milliseconds(monitor.state.latency_ms)

    @admin.display(description="Reason")
    def reason(self, monitor: Monitor) -> str | SafeString:
        return monitor.state.error or desk.NOTHING


def _add(monitor: Monitor, label: Label) -> bool:
    monitor.label([*monitor.labels.all(), label])
    return True


class NamedRows(BaseInlineFormSet):
    """Rows whose fields say by themselves what they are: their labels are column heads."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        for bound in form.visible_fields():
            # A choice among other objects is wrapped into what adds links to it.
            widget = getattr(bound.field.widget, "widget", bound.field.widget)
            widget.attrs.setdefault("aria-label", capfirst(bound.label))


class MonitorInline(admin.TabularInline):
    """Rows that each name a monitor in service."""

    formset = NamedRows

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "monitor":
            kwargs["queryset"] = Monitor.objects.current()
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        return desk.unlinked(field)


def probe(monitor: Monitor) -> Outcome:
    """Ask the target, on a thread of its own."""
    try:
        return monitor.probe()
    except (ConfigInvalid, KeyError) as error:
        return Outcome(Status.NO_DATA, error=f"Its config does not fit: {error}")
    finally:
        connections.close_all()


def outcome_row(monitor: Monitor, outcome: Outcome) -> Sequence[object]:
    return [
        desk.link(monitor),
        status_of(outcome.status),
        milliseconds(outcome.latency_ms),
        panels.in_words(outcome.phases) or desk.NOTHING,
        outcome.error or desk.NOTHING,
    ]
