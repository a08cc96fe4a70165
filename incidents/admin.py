from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from access.forms import UTCInput
from alerting.models import Alert
from monitors.admin import MonitorInline
from monitors.models import Monitor
from outbox.models import Message

from . import markdown
from .models import Impact, Incident, IncidentAlert, IncidentUpdate, State

LOOKS = {"DOWN": "down", "DEGRADED": "degraded", "PARTIAL": "degraded"}
SEVERITIES = {
    Incident.Severity.MINOR: "degraded",
    Incident.Severity.MAJOR: "down",
    Incident.Severity.CRITICAL: "down",
}


class Moment(forms.DateTimeField):
    """A moment in UTC, as browsers' own fields write it."""

    widget = UTCInput

    def clean(self, value: Any) -> datetime | None:
        at: datetime | None = super().clean(value)
        if at and at > timezone.now():
            raise forms.ValidationError("This moment is still to come; times are UTC.")
        if at and at.year < 2000:
            raise forms.ValidationError("This moment lies before the year 2000.")
        return at


class OpenForm(forms.ModelForm):
    """What an incident begins with; its summary becomes the first update."""

    summary = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6}),
        max_length=20_000,
        help_text="Markdown. The first update: what people notice, and that you are "
        "on it.",
    )
    started_at = Moment(
        label="Began at",
        initial=timezone.now,
        help_text="UTC. When people began to notice, which may be earlier than now.",
    )

    class Meta:
        model = Incident
        fields = ["title", "summary", "started_at", "severity"]


class UpdateForm(forms.Form):
    state = forms.ChoiceField(choices=State.choices, widget=forms.RadioSelect)
    body = forms.CharField(
        label="What to say", widget=forms.Textarea(attrs={"rows": 5}), max_length=20_000
    )
    at = Moment(label="At", required=False)
    version = forms.IntegerField(widget=forms.HiddenInput)


class FactsForm(forms.ModelForm):
    version = forms.IntegerField(widget=forms.HiddenInput)
    started_at = Moment(label="Began", help_text="UTC")

    class Meta:
        model = Incident
        fields = ["title", "severity", "started_at"]

    def clean_started_at(self) -> datetime:
        at: datetime = self.cleaned_data["started_at"]
        if self.instance.ended_at and at > self.instance.ended_at:
            raise forms.ValidationError("It had ended by then.")
        return at


class ImpactForm(forms.Form):
    monitor = forms.ModelChoiceField(Monitor.objects.none())
    level = forms.ChoiceField(label="Impact", choices=Impact.Level.choices)
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["monitor"]
        choice.queryset = Monitor.objects.current()  # type: ignore[attr-defined]


class ImpactInline(MonitorInline):
    model = Impact
    fields = ["monitor", "level"]
    extra = 1
    verbose_name = "affected monitor"


class OpenFilter(admin.SimpleListFilter):
    title = "open"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Open"), ("no", "Resolved")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> QuerySet[Incident]:
        resolved = Q(state=State.RESOLVED)
        chosen = {"yes": ~resolved, "no": resolved}
        return queryset.filter(chosen.get(self.value() or "", Q()))


class DeletedFilter(desk.RetiredFilter):
    parameter_name = "deleted"
    field = "deleted_at"
    title = "deleted"


class Entry(NamedTuple):
    """One line of the timeline: an update, or a fact beside it."""

    at: datetime
    update: IncidentUpdate | None
    fact: str | SafeString = ""


class Changed(Exception):
    """Somebody else has changed the incident since the page was made."""


@admin.register(Incident)
class IncidentAdmin(desk.Retiring):
    """Opening is a form; everything after it is done in the workspace."""

    form = OpenForm
    inlines = [ImpactInline]
    retired_field = "deleted_at"
    list_display = [
        "title",
        "shown_state",
        "shown_severity",
        "affects",
        "source",
        "started",
        "ended",
        "told",
    ]
    list_filter = [
        OpenFilter,
        "state",
        "severity",
        "source",
        "started_at",
        DeletedFilter,
    ]
    search_fields = ["title", "updates__body", "impacts__monitor__name"]
    lede = "What people are told."
    consequence = (
        "It disappears from the public pages, and messages about it that are still "
        "queued are cancelled; nobody is told that it is gone. To end an incident, "
        "resolve it instead."
    )
    doors: ClassVar[dict[str, str]] = {
        "_publish": "publish",
        "_preview": "preview",
        "_revise": "revise",
        "_affect": "affect",
        "_spare": "spare",
    }

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        impacts = Impact.objects.select_related("monitor")
        incidents = super().get_queryset(request)
        return incidents.annotate(said=Count("updates")).prefetch_related(
            Prefetch("impacts", impacts, to_attr="every_impact")
        )

    @admin.display(description="State", ordering="state")
    def shown_state(self, incident: Incident) -> SafeString:
        if incident.deleted_at:
            return desk.state("no_data", "Deleted")
        if incident.is_open:
            return format_html("<b>{}</b>", incident.get_state_display())
        return desk.state("up", incident.get_state_display())

    @admin.display(description="Severity", ordering="severity")
    def shown_severity(self, incident: Incident) -> str:
        word = incident.get_severity_display()
        look = SEVERITIES[Incident.Severity(incident.severity)]
        return desk.state(look, word) if incident.is_open else word

    @admin.display(description="Affects")
    def affects(self, incident: Any) -> str | SafeString:
        names = dict.fromkeys(i.monitor.name for i in incident.every_impact)
        return ", ".join(names) or desk.NOTHING

    @admin.display(description="Began", ordering="started_at")
    def started(self, incident: Incident) -> SafeString:
        return desk.moment(incident.started_at, ago=incident.is_open)

    @admin.display(description="Ended", ordering="ended_at")
    def ended(self, incident: Incident) -> SafeString:
        return desk.ended(incident.ended_at, incident.started_at)

    @admin.display(description="Updates", ordering="said")
    def told(self, incident: Any) -> int:
        return incident.said

    # Opening

    def save_model(
        self, request: HttpRequest, obj: Incident, form: Any, change: bool
    ) -> None:
        """Opened in save_related, when the affected monitors are known too."""

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        rows = [row for formset in formsets for row in formset.cleaned_data]
        incident = Incident.open(
            title=form.cleaned_data["title"],
            summary=form.cleaned_data["summary"],
            started_at=form.cleaned_data["started_at"],
            severity=form.cleaned_data["severity"],
            impacts={row["monitor"]: row["level"] for row in rows if row},
            at=timezone.now(),
            source=Incident.Source.DASHBOARD,
            author=author(request),
        )
        form.instance.pk = incident.pk

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        # Django's own asks the formsets what they have saved; they save nothing.
        return [{"added": {}}]

    def response_add(
        self, request: HttpRequest, obj: Incident, post_url_continue: str | None = None
    ) -> HttpResponse:
        self.message_user(request, "The incident is open, and people are being told.")
        return HttpResponseRedirect(desk.address(obj))

    def retire(self, shown: Incident, at: datetime) -> None:
        shown.delete_by_hand(at=at)

    # The workspace

    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(self.preview_view)
        name = "incidents_incident_preview"
        return [path("preview/", preview, name=name), *super().get_urls()]

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """The HTML that some Markdown becomes, for the script of the workspace."""
        if not (request.method == "POST" and self.has_view_permission(request)):
            raise PermissionDenied
        return HttpResponse(markdown.render(request.POST.get("body", "")[:20_000]))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        incident = self.get_object(request, object_id)
        if incident is None:
            return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
                request, self.opts, object_id
            )
        if request.method != "POST":
            if not self.has_view_or_change_permission(request, incident):
                raise PermissionDenied
            return self.workspace(request, incident)
        if not self.has_change_permission(request, incident):
            raise PermissionDenied
        door = next((d for d in self.doors if d in request.POST), "_publish")
        return getattr(self, self.doors[door])(request, incident)

    def publish(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = UpdateForm(request.POST)
        if not form.is_valid():
            return self.workspace(request, incident, update_form=form)
        said = form.cleaned_data

        def write(current: Incident) -> None:
            current.update(
                state=said["state"],
                body=said["body"],
                at=said["at"] or timezone.now(),
                author=author(request),
            )

        return self.change(request, incident, said["version"], write, "Wrote an update")

    def preview(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = UpdateForm(request.POST)
        html = markdown.render(request.POST.get("body", "")[:20_000])
        return self.workspace(request, incident, update_form=form, preview=html)

    def revise(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = FactsForm(request.POST, instance=copy(incident))
        if not form.is_valid():
            return self.workspace(request, incident, facts_form=form)
        version = form.cleaned_data.pop("version")

        def revise(current: Incident) -> None:
            current.revise(at=timezone.now(), **form.cleaned_data)

        return self.change(request, incident, version, revise, "Changed the facts")

    def affect(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = ImpactForm(request.POST)
        if not form.is_valid():
            return self.workspace(request, incident, impact_form=form)
        monitor, level = form.cleaned_data["monitor"], form.cleaned_data["level"]
        return self.change(
            request,
            incident,
            form.cleaned_data["version"],
            lambda current: revise_impacts(current, {monitor: level}),
            f"{monitor} is affected",
        )

    def spare(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        monitor = get_object_or_404(Monitor, pk=request.POST["_spare"])
        return self.change(
            request,
            incident,
            incident.version,
            lambda current: revise_impacts(current, {monitor: ""}),
            f"{monitor} is no longer affected",
        )

    def change(
        self,
        request: HttpRequest,
        incident: Incident,
        version: int,
        write: Callable[[Incident], None],
        words: str,
    ) -> HttpResponse:
        """Write, unless somebody else has since the page was made."""
        try:
            with transaction.atomic():
                locked = Incident.objects.select_for_update(no_key=True)
                current = locked.get(pk=incident.pk)
                if current.version != version or current.deleted_at:
                    raise Changed
                write(current)
        except Changed:
            return self.show_conflict(request, incident)
        return self.done(request, incident, words)

    def show_conflict(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Keep what was typed, show what is new, and let it be sent again."""
        messages.warning(
            request,
            "Somebody else has changed this incident since you opened the page. "
            "Nothing of yours was published; your text is kept. Read what is new, "
            "then publish again.",
        )
        posted = request.POST.copy()
        posted["version"] = str(incident.version)
        if "_revise" in posted:
            form = FactsForm(posted, instance=copy(incident))
            return self.workspace(request, incident, facts_form=form)
        return self.workspace(request, incident, update_form=UpdateForm(posted))

    def done(
        self, request: HttpRequest, incident: Incident, words: str
    ) -> HttpResponse:
        self.log_change(request, incident, f"{words}.")
        self.message_user(request, f"{words}.")
        return HttpResponseRedirect(desk.address(incident))

    def workspace(
        self, request: HttpRequest, incident: Any, **more: Any
    ) -> HttpResponse:
        version = {"version": incident.version}
        links = IncidentAlert.objects.filter(incident=incident)
        alerts = [link.alert for link in links.select_related("alert")]
        context = {
            **self.admin_site.each_context(request),
            "title": incident.title,
            "opts": self.opts,
            "original": incident,
            "state": self.shown_state(incident),
            "severity": self.shown_severity(incident),
            "may_change": self.has_change_permission(request, incident),
            "may_delete": self.has_delete_permission(request, incident),
            "states": State.choices,
            "update_form": UpdateForm(initial={"state": incident.state} | version),
            "facts_form": FactsForm(instance=incident, initial=version),
            "impact_form": ImpactForm(initial=version),
            "preview": "",
            "impacts": impact_rows(incident),
            "alerts": alerts,
            "alert_rows": [alert_row(alert) for alert in alerts],
            "timeline": timeline(incident, alerts),
            "deliveries": deliveries(incident),
            "panels": desk.panels(request, incident, "below"),
            "side_panels": desk.panels(request, incident, "side"),
            "audience": desk.panels(request, incident, "audience"),
            **more,
        }
        page = "admin/incidents/incident/workspace.html"
        return TemplateResponse(request, page, context)


def revise_impacts(incident: Incident, changes: dict[Monitor, str]) -> None:
    """Change what some monitors suffer; without a level they are spared."""
    current = incident.impacts.filter(ended_at=None).select_related("monitor")
    impacts = {impact.monitor: impact.level for impact in current} | changes
    suffering = {monitor: level for monitor, level in impacts.items() if level}
    incident.revise(at=timezone.now(), impacts=suffering)


def author(request: HttpRequest) -> Any:
    return request.user


def impact_rows(incident: Any) -> list[tuple[Impact, SafeString]]:
    """The open impacts first, each with its level in words."""
    rows = sorted(incident.every_impact, key=lambda i: i.ended_at is not None)
    return [
        (i, desk.state("up", "Over"))
        if i.ended_at
        else (i, desk.state(LOOKS[i.level], i.get_level_display()))
        for i in rows
    ]


def alert_row(alert: Alert) -> Sequence[object]:
    triggered = alert.state == Alert.State.TRIGGERED
    return [
        format_html("{}<small>{}</small>", desk.link(alert), alert.error),
        format_html(
            "{}<small>{}</small>",
            desk.state("down" if triggered else "up", alert.get_state_display()),
            desk.moment(alert.resolved_at or alert.triggered_at),
        ),
    ]


def timeline(incident: Any, alerts: Sequence[Alert]) -> list[Entry]:
    """Updates and the facts between them, newest first."""
    entries = [
        Entry(update.at, update) for update in incident.updates.select_related("author")
    ]
    for impact in incident.every_impact:
        level = impact.get_level_display().lower()
        entries.append(Entry(impact.started_at, None, f"{impact.monitor}: {level}"))
        if impact.ended_at:
            over = f"{impact.monitor}: no longer affected"
            entries.append(Entry(impact.ended_at, None, over))
    for alert in alerts:
        told = format_html("Alert triggered: {}", desk.link(alert))
        entries.append(Entry(alert.triggered_at, None, told))
        if alert.resolved_at:
            over = format_html("Alert resolved: {}", desk.link(alert))
            entries.append(Entry(alert.resolved_at, None, over))
    return sorted(entries, key=lambda e: (e.at, e.update is not None), reverse=True)


def deliveries(incident: Incident) -> dict[str, Any]:
    """How many messages about it are delivered, waiting, given up."""
    found = Message.objects.filter(topic_key=incident.cause)
    counts = dict(found.values_list("state").annotate(Count("pk")).order_by())
    return {
        "delivered": counts.get(Message.State.DELIVERED, 0),
        "waiting": counts.get(Message.State.QUEUED, 0),
        "failed": counts.get(Message.State.FAILED, 0),
        "address": desk.list_address(Message, f"q={incident.cause}"),
    }


def incidents_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    impacts = Impact.objects.filter(monitor=monitor, incident__deleted_at=None)
    newest = impacts.select_related("incident").order_by("-started_at")[:20]
    return desk.table(
        "Incidents",
        ["Incident", "Impact", "From", "Until"],
        (
            [
                desk.link(impact.incident),
                desk.state(LOOKS[impact.level], impact.get_level_display()),
                desk.moment(impact.started_at),
                desk.moment(impact.ended_at) if impact.ended_at else "still open",
            ]
            for impact in newest
        ),
    )


desk.name_topic("incident", Incident)
desk.add_panel(Monitor, incidents_of_monitor)
