from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from alerting.models import Alert
from monitors.admin import MonitorInline
from monitors.models import Monitor
from outbox.models import Message

from . import (
    automation_admin,  # noqa: F401  registers its own page
    maintenance_admin,  # noqa: F401  the same
    markdown,
    merging_admin,  # noqa: F401  adds its own pages
)
from .exporting import EXPORTS
from .fields import Later, Moment, Words
from .list_filters import (
    DeletedFilter,
    InUse,
    OpenFilter,
    SeverityFilter,
    VisibilityFilter,
)
from .listing import IncidentList, affected
from .models import (
    Author,
    Impact,
    Incident,
    IncidentAlert,
    IncidentUpdate,
    Refused,
    State,
    TimelineEntry,
    UpdateTemplate,
)
from .severity_admin import severity_field
from .timeline import Line, lines

LOOKS = {"DOWN": "down", "DEGRADED": "degraded", "PARTIAL": "degraded"}
SEVERITIES = {
    Incident.Severity.MINOR: "degraded",
    Incident.Severity.MAJOR: "down",
    Incident.Severity.CRITICAL: "down",
}


class OpenForm(forms.ModelForm):
    """What an incident begins with; its summary becomes the first update."""

    summary = Words(
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

    severity = severity_field()
    ended_at = Moment(
        label="Ended at",
        required=False,
        help_text="UTC. Only for what is over: it is told on the pages, nobody gets a "
        "message.",
    )
    closing = Words(
        label="How it ended",
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=20_000,
        required=False,
        help_text="Markdown. The last update of what is over.",
    )
    is_quiet = forms.BooleanField(label="Page only, tell nobody", required=False)
    is_draft = forms.BooleanField(
        label="As a draft",
        required=False,
        help_text="Nobody outside sees it until it is published: its pages can be "
        "chosen first.",
    )

    class Meta:
        model = Incident
        fields = ["title", "summary", "started_at", "severity", "owner", "labels"]
        fields += ["groups"]
        widgets = dict.fromkeys(("labels", "groups"), forms.CheckboxSelectMultiple)
        labels = {"groups": "Seen by"}
        help_texts = {
            "groups": "Nobody else sees it, and it is never public. None: everybody."
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offer_owners(self)

    def clean(self) -> dict[str, Any] | None:
        said = super().clean() or {}
        began, ended = said.get("started_at"), said.get("ended_at")
        if began and ended and ended < began:
            self.add_error("ended_at", "It had not begun by then.")
        if said.get("closing") and not ended:
            self.add_error("closing", "Only what is over has a last update.")
        return said


PROMISES = [("", "No promise"), ("30", "30 min"), ("60", "1 h"), ("120", "2 h")]


def impact_name(impact: Impact) -> str:
    """The name of the field that changes what a monitor suffers."""
    return f"impact_{impact.monitor_id}"


def update_form(incident: Any, *args: Any, **kwargs: Any) -> "UpdateForm":
    """The form of an update, with what the monitors suffer now."""
    suffering = [impact for impact in incident.every_impact if not impact.ended_at]
    return UpdateForm(*args, suffering=suffering, **kwargs)


class UpdateForm(forms.Form):
    state = forms.ChoiceField(choices=State.choices, widget=forms.RadioSelect)
    body = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 5, "accesskey": "u"}),
        max_length=20_000,
    )
    at = Moment(label="At", required=False)
    publish_at = Later(label="Publish at", required=False)
    next_update = forms.TypedChoiceField(
        label="Next update in",
        choices=PROMISES,
        coerce=lambda minutes: timedelta(minutes=int(minutes)),
        empty_value=None,
        required=False,
    )
    is_quiet = forms.BooleanField(label="Page only, tell nobody", required=False)
    template = forms.ModelChoiceField(
        UpdateTemplate.objects.all(), required=False, empty_label="Template"
    )
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, suffering: Sequence[Impact], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.suffering = suffering
        for impact in suffering:
            self.fields[impact_name(impact)] = forms.ChoiceField(
                label=str(impact.monitor),
                choices=[*Impact.Level.choices, ("UP", "Up")],
                initial=impact.level,
                required=False,
            )

    @property
    def impact_fields(self) -> list[forms.BoundField]:
        return [self[impact_name(impact)] for impact in self.suffering]

    @property
    def impacts(self) -> dict[Monitor, str]:
        """What the update changes: levels by monitor, empty if it is spared."""
        chosen = {
            impact.monitor: (self.cleaned_data.get(impact_name(impact)), impact.level)
            for impact in self.suffering
        }
        return {
            monitor: "" if level == "UP" else level
            for monitor, (level, was) in chosen.items()
            if level and level != was
        }

    def clean(self) -> dict[str, Any] | None:
        said = super().clean()
        if said and said.get("at") and said.get("publish_at"):
            self.add_error("at", "Say either when it was, or when it is to be told.")
        if said:
            self._refuse_unfit(said)
        return said

    def _refuse_unfit(self, said: dict[str, Any]) -> None:
        """What ends an incident promises nothing."""
        is_over = said.get("state") == State.RESOLVED
        if said.get("next_update") and is_over:
            self.add_error("next_update", "Only what ends nothing can promise more.")


class EditForm(forms.Form):
    """What an update is to say instead."""

    state = forms.ChoiceField(choices=State.choices)
    body = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=20_000,
    )
    at = Moment(label="At", help_text="UTC")
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, update: IncidentUpdate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if update.publish_at:
            del self.fields["at"]
        if update.is_internal:
            del self.fields["state"]


class FactsForm(forms.ModelForm):
    version = forms.IntegerField(widget=forms.HiddenInput)
    started_at = Moment(label="Began", help_text="UTC")
    severity = severity_field()

    class Meta:
        model = Incident
        fields = ["title", "severity", "started_at", "owner", "labels"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offer_owners(self)

    def clean_started_at(self) -> datetime:
        at: datetime = self.cleaned_data["started_at"]
        if self.instance.ended_at and at > self.instance.ended_at:
            raise forms.ValidationError("It had ended by then.")
        return at


def offer_owners(form: forms.ModelForm) -> None:
    """Let those be chosen who can deal with it."""
    staff = User.objects.filter(is_staff=True, is_active=True)
    form.fields["owner"].queryset = staff  # type: ignore[attr-defined]


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


CONFLICT = (
    "Somebody else has changed this incident since you opened the page. Nothing of "
    "yours was published; your text is kept. Read what is new, then publish again."
)


class Changed(Exception):
    """Somebody else has changed the incident since the page was made."""


@admin.register(Incident)
class IncidentAdmin(desk.Retiring):
    """Opening is a form; everything after it is done in the workspace."""

    form = OpenForm
    inlines = [ImpactInline]
    retired_field = "deleted_at"
    list_per_page = 30
    # Each row would look its address up again, to come back to the same filters from
    # a page that leads to the list by itself.
    preserve_filters = False
    list_select_related = ["owner"]
    list_display = [
        "title",
        "shown_state",
        "shown_severity",
        "affects",
        "opened_by",
        "owner",
        "started",
        "ended",
        "told",
    ]
    list_filter = [
        OpenFilter,
        VisibilityFilter,
        "state",
        SeverityFilter,
        "source",
        ("owner", InUse),
        ("labels", InUse),
        "started_at",
        DeletedFilter,
    ]
    search_fields = ["title", "search_text__told", "impacts__monitor__name"]
    lede = "What people are told."
    consequence = (
        "It disappears from the public pages, and messages about it that are still "
        "queued are cancelled; nobody is told that it is gone. To end an incident, "
        "resolve it instead."
    )
    doors: ClassVar[dict[str, str]] = {
        "_publish": "publish",
        "_preview": "preview",
        "_note": "note",
        "_fill": "fill",
        "_revise": "revise",
        "_affect": "affect",
        "_spare": "spare",
        "_go_public": "go_public",
        "_hold": "hold",
        "_discard": "ask_to_discard",
        "_discarded": "discard",
    }

    fieldsets: ClassVar[Any] = [
        (None, {"fields": ["title", "summary", "started_at", "severity"]}),
        (
            "Who deals with it, and who hears of it",
            {
                "fields": ["owner", "labels", "is_draft", "is_quiet", "groups"],
                "classes": ["collapse"],
            },
        ),
        (
            "If it is over already",
            {"fields": ["ended_at", "closing"], "classes": ["collapse"]},
        ),
    ]

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        impacts = Impact.objects.select_related("monitor")
        everything: Any = super().get_queryset(request)
        incidents = everything.visible_to(request.user)
        told = IncidentUpdate.objects.filter(incident=OuterRef("pk"))
        newest = Subquery(told.order_by("-at").values("at")[:1])
        return incidents.annotate(told_at=newest).prefetch_related(
            Prefetch("impacts", impacts, to_attr="every_impact")
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[IncidentList]:
        return IncidentList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Incident], bool]:
        return queryset.saying(search_term, internal=True), False

    @admin.display(description="State", ordering="state")
    def shown_state(self, incident: Incident) -> SafeString:
        if incident.deleted_at:
            return desk.state("no_data", "Deleted")
        if incident.merged_into_id:
            return desk.state("no_data", "Merged")
        if incident.discarded_at:
            return desk.state("no_data", "Discarded")
        if incident.is_draft:
            draft = desk.state("maintenance", "Draft")
            return format_html("{}<small>{}</small>", draft, countdown(incident))
        if incident.is_open:
            state = format_html("<b>{}</b>", incident.get_state_display())
            return format_html("{}{}", state, promise(incident) or silence(incident))
        return desk.state("up", incident.get_state_display())

    @admin.display(description="Opened by", ordering="badge")
    def opened_by(self, incident: Incident) -> str:
        return incident.badge or incident.get_source_display()

    @admin.display(description="Severity", ordering="severity")
    def shown_severity(self, incident: Incident) -> str:
        word = incident.severity_label
        look = SEVERITIES[Incident.Severity(incident.severity)]
        return desk.state(look, word) if incident.is_open else word

    @admin.display(description="Affects")
    def affects(self, incident: Any) -> str | SafeString:
        return ", ".join(affected(incident)) or desk.NOTHING

    @admin.display(description="Began", ordering="started_at")
    def started(self, incident: Incident) -> SafeString:
        return desk.moment(incident.started_at, ago=incident.is_open)

    @admin.display(description="Ended", ordering="ended_at")
    def ended(self, incident: Incident) -> SafeString:
        return desk.ended(incident.ended_at, incident.started_at)

    @admin.display(description="Updates")
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
        said = dict(form.cleaned_data)
        incident = Incident.open(
            notifies=not said.pop("is_quiet"),
            **said,
            impacts={row["monitor"]: row["level"] for row in rows if row},
            at=timezone.now(),
            source=Incident.Source.DASHBOARD,
            author=desk.operator(request),
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
        opened = Incident.objects.get(pk=obj.pk)
        self.message_user(request, said_of(opened))
        return HttpResponseRedirect(desk.address(obj))

    def delete_model(self, request: HttpRequest, obj: Incident) -> None:
        obj.delete_by_hand(at=timezone.now(), author=desk.operator(request))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> None:
        for incident in queryset:
            self.delete_model(request, incident)

    # The workspace

    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(self.preview_view)
        name = "incidents_incident_preview"
        update = self.admin_site.admin_view(self.update_view)
        export = self.admin_site.admin_view(self.export_view)
        return [
            path("preview/", preview, name=name),
            path(
                "<int:pk>/updates/<int:update>/",
                update,
                name="incidents_incident_update",
            ),
            path(
                "<int:pk>/export/<slug:form>/",
                export,
                name="incidents_incident_export",
            ),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest, pk: int, form: str) -> HttpResponse:
        """The incident with its whole timeline, as a file."""
        incident = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, incident):
            raise PermissionDenied
        if form not in EXPORTS:
            raise Http404
        made = EXPORTS[form]
        response = HttpResponse(made.make(incident), content_type=made.content_type)
        name = f"incident-{pk}.{made.ending}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def update_view(self, request: HttpRequest, pk: int, update: int) -> HttpResponse:
        """Edit an update, take it back, or tell now what waits."""
        incident = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, incident):
            raise PermissionDenied
        kept = IncidentUpdate.every.kept().filter(incident=incident)
        found = get_object_or_404(kept.select_related("incident"), pk=update)
        if request.method != "POST":
            return self.show_update(request, found)
        if "_take_back" in request.POST:
            return self.take_back(request, found)
        if "_tell_now" in request.POST:
            told = found.publish(at=timezone.now(), author=desk.operator(request))
            said = "Published the update" if told else "It is not told"
            return self.done(request, incident, said)
        return self.edit(request, found)

    def take_back(self, request: HttpRequest, update: IncidentUpdate) -> HttpResponse:
        if update.take_back(at=timezone.now(), author=desk.operator(request)):
            return self.done(request, update.incident, "Took the update back")
        messages.warning(
            request, "This is the only update; delete the incident instead."
        )
        return HttpResponseRedirect(desk.address(update.incident))

    def edit(self, request: HttpRequest, update: IncidentUpdate) -> HttpResponse:
        form = EditForm(request.POST, update=update)
        if not form.is_valid():
            return self.show_update(request, update, form)
        said = form.cleaned_data

        def write(current: Incident) -> None:
            update.incident = current
            update.edit(
                at=timezone.now(),
                author=desk.operator(request),
                body=said["body"],
                state=said.get("state"),
                told_at=said.get("at"),
            )

        try:
            self.write(update.incident, said["version"], write)
        except Changed:
            messages.warning(request, CONFLICT)
            posted = request.POST.copy()
            posted["version"] = str(Incident.objects.get(pk=update.incident_id).version)
            form = EditForm(posted, update=update)
            return self.show_update(request, update, form)
        return self.done(request, update.incident, "Edited the update")

    def show_update(
        self,
        request: HttpRequest,
        update: IncidentUpdate,
        form: EditForm | None = None,
    ) -> HttpResponse:
        said = {"state": update.state, "body": update.body, "at": update.at}
        initial = {**said, "version": update.incident.version}
        context = {
            **self.admin_site.each_context(request),
            "title": "Note" if update.is_internal else "Update",
            "opts": self.opts,
            "original": update.incident,
            "update": update,
            "form": form or EditForm(initial=initial, update=update),
            "versions": list(update.versions.all()),
        }
        page = "admin/incidents/incident/update.html"
        return TemplateResponse(request, page, context)

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
        form = update_form(incident, request.POST)
        if not form.is_valid():
            return self.workspace(request, incident, update_form=form)
        said = form.cleaned_data

        waits, soon = said["publish_at"], said["next_update"]
        begins = waits or timezone.now()

        def write(current: Incident) -> None:
            facts = {
                "state": said["state"],
                "body": said["body"],
                "author": desk.operator(request),
                "notifies": not said["is_quiet"],
                "next_update_at": soon and begins + soon,
                "impacts": form.impacts,
            }
            if waits:
                current.schedule(**facts, publish_at=waits)
            else:
                current.update(**facts, at=said["at"] or begins)

        words = "Scheduled an update" if waits else "Wrote an update"
        return self.change(request, incident, said["version"], write, words)

    def note(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Keep what was written among operators; who was faster does no harm."""
        form = update_form(incident, request.POST)
        form.fields["state"].required = form.fields["version"].required = False
        if not form.is_valid():
            return self.workspace(request, incident, update_form=form)
        at = form.cleaned_data["at"] or timezone.now()
        incident.note(form.cleaned_data["body"], at=at, author=desk.operator(request))
        return self.done(request, incident, "Kept as an internal note")

    def fill(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Put the words of a template into the field, to be changed and sent."""
        chosen = request.POST.get("template", "")
        number = int(chosen) if chosen.isdecimal() else 0
        found = UpdateTemplate.objects.filter(pk=number)
        posted = request.POST.copy()
        if template := found.first():
            posted["state"], posted["body"] = (
                template.state,
                template.body_for(incident),
            )
        form = update_form(incident, initial=posted.dict())
        return self.workspace(request, incident, update_form=form)

    def preview(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = update_form(incident, request.POST)
        html = markdown.render(request.POST.get("body", "")[:20_000])
        return self.workspace(request, incident, update_form=form, preview=html)

    def revise(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = FactsForm(request.POST, instance=copy(incident))
        if not form.is_valid():
            return self.workspace(request, incident, facts_form=form)
        version = form.cleaned_data.pop("version")

        def revise(current: Incident) -> None:
            current.revise(
                at=timezone.now(), author=desk.operator(request), **form.cleaned_data
            )

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
            lambda current: revise_impacts(
                current, {monitor: level}, desk.operator(request)
            ),
            f"{monitor} is affected",
        )

    # A draft

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        gone = obj is not None and obj.discarded_at is not None
        return not gone and super().has_change_permission(request, obj)

    def may_publish(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.publish_incident")

    def decide(
        self, request: HttpRequest, incident: Incident, decided: bool, words: str
    ) -> HttpResponse:
        """Say what was decided, or that somebody else was faster."""
        if decided:
            return self.done(request, incident, words)
        messages.warning(request, "Somebody has decided about this draft before you.")
        return HttpResponseRedirect(desk.address(incident))

    def go_public(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        decided = incident.publish(at=timezone.now(), author=desk.operator(request))
        words = "Published; people are being told"
        return self.decide(request, incident, decided, words)

    def hold(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        words = "Stopped the countdown; it waits for a person"
        decided = incident.hold(at=timezone.now(), author=desk.operator(request))
        return self.decide(request, incident, decided, words)

    def ask_to_discard(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": f"Discard {incident}?",
            "opts": self.opts,
            "original": incident,
        }
        page = "admin/incidents/incident/discard.html"
        return TemplateResponse(request, page, context)

    def discard(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        reason = request.POST.get("reason", "").strip()
        decided = incident.discard(
            at=timezone.now(), reason=reason, author=desk.operator(request)
        )
        return self.decide(request, incident, decided, "Discarded the draft")

    def spare(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        monitor = get_object_or_404(Monitor, pk=request.POST["_spare"])
        return self.change(
            request,
            incident,
            incident.version,
            lambda current: revise_impacts(
                current, {monitor: ""}, desk.operator(request)
            ),
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
            self.write(incident, version, write)
        except Changed:
            return self.show_conflict(request, incident)
        return self.done(request, incident, words)

    def write(
        self, incident: Incident, version: int, write: Callable[[Incident], None]
    ) -> None:
        """Raise Changed if the incident is not as it was when the page was made."""
        with transaction.atomic():
            locked = Incident.objects.select_for_update(no_key=True)
            current = locked.get(pk=incident.pk)
            is_gone = current.deleted_at or current.discarded_at
            if current.version != version or is_gone:
                raise Changed
            write(current)

    def show_conflict(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Keep what was typed, show what is new, and let it be sent again."""
        messages.warning(request, CONFLICT)
        posted = request.POST.copy()
        posted["version"] = str(incident.version)
        if "_revise" in posted:
            form = FactsForm(posted, instance=copy(incident))
            return self.workspace(request, incident, facts_form=form)
        return self.workspace(
            request, incident, update_form=update_form(incident, posted)
        )

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
            "may_publish": self.may_publish(request),
            "countdown": countdown(incident),
            "promise": promise(incident) or silence(incident),
            "reach": incident.is_draft and desk.panels(request, incident, "draft"),
            "may_delete": self.has_delete_permission(request, incident),
            "states": State.choices,
            "update_form": update_form(
                incident, initial={"state": incident.state} | version
            ),
            "facts_form": FactsForm(instance=incident, initial=version),
            "impact_form": ImpactForm(initial=version),
            "preview": "",
            "impacts": impact_rows(incident),
            "alerts": alerts,
            "alert_rows": [alert_row(alert) for alert in alerts],
            "timeline": [(line, fact(line)) for line in lines(incident)],
            "exports": exports(incident),
            "deliveries": deliveries(incident),
            "panels": desk.panels(request, incident, "below"),
            "side_panels": desk.panels(request, incident, "side"),
            "audience": desk.panels(request, incident, "audience"),
            **more,
        }
        page = "admin/incidents/incident/workspace.html"
        return TemplateResponse(request, page, context)


def said_of(opened: Incident) -> str:
    """What has become of an incident that somebody has entered."""
    if opened.is_draft:
        return "The draft waits to be published; nobody outside sees it."
    if opened.is_private:
        return "The incident is kept among those who may see it."
    if not opened.is_open:
        return "The incident is entered; nobody gets a message."
    if not opened.updates.filter(notifies=True).exists():
        return "The incident is open; nobody gets a message."
    return "The incident is open, and people are being told."


def revise_impacts(
    incident: Incident, changes: dict[Monitor, str], author: Author
) -> None:
    """Change what some monitors suffer; without a level they are spared."""
    current = incident.impacts.filter(ended_at=None).select_related("monitor")
    impacts = {impact.monitor: impact.level for impact in current} | changes
    suffering = {monitor: level for monitor, level in impacts.items() if level}
    incident.revise(at=timezone.now(), impacts=suffering, author=author)


def countdown(incident: Incident) -> str:
    """What a draft waits for."""
    if incident.publish_at is None:
        return "held" if incident.is_held else "waits for a person"
    if not incident.is_open:
        return "over; waits for a person"
    return f"publishes itself {desk.due(incident.publish_at)}"


def promise(incident: Incident) -> str | SafeString:
    """When more is promised, counted down, or that it is overdue."""
    at = incident.promised_at
    if at is None:
        return ""
    if at <= timezone.now():
        late = desk.length((timezone.now() - at).total_seconds())
        return format_html('<small class="late">update overdue by {}</small>', late)
    return format_html("<small>next update {}</small>", desk.since(at))


def silence(incident: Any) -> str | SafeString:
    """For how long nobody has told anything, if that is too long already."""
    now = timezone.now()
    is_late = incident.nags or (incident.nag_at and incident.nag_at <= now)
    if not (is_late and incident.is_awaited):
        return ""
    length = desk.length(
        (now - incident.silent_since(incident.told_at)).total_seconds()
    )
    return format_html('<small class="late">no news for {}</small>', length)


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


def fact(line: Line) -> str | SafeString:
    """What a fact says, with a link to the alert it speaks of."""
    entry = line.fact
    if entry is None:
        return ""
    if entry.kind != TimelineEntry.Kind.ALERT or "alert" not in entry.facts:
        return entry.text
    said, _, name = entry.text.partition(": ")
    alert = reverse("admin:alerting_alert_change", args=[entry.facts["alert"]])
    return format_html('{}: <a href="{}">{}</a>', said, alert, name)


def exports(incident: Incident) -> list[tuple[str, str]]:
    """The forms there are, each with its address."""
    name = "admin:incidents_incident_export"
    return [
        (export.label, reverse(name, args=[incident.pk, form]))
        for form, export in EXPORTS.items()
    ]


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


def title(incident: Incident) -> str:
    return f"Draft: {incident}" if incident.is_draft else str(incident)


def incidents_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    current = Incident.objects.current().filter(discarded_at=None)
    current = current.visible_to(request.user)
    impacts = Impact.objects.filter(monitor=monitor, incident__in=current)
    newest = impacts.select_related("incident").order_by("-started_at")[:20]
    return desk.table(
        "Incidents",
        ["Incident", "Impact", "From", "Until"],
        (
            [
                desk.link(impact.incident, title(impact.incident)),
                desk.state(LOOKS[impact.level], impact.get_level_display()),
                desk.moment(impact.started_at),
                desk.moment(impact.ended_at) if impact.ended_at else "still open",
            ]
            for impact in newest
        ),
    )


def refusal_of_alert(request: HttpRequest, alert: Alert) -> str:
    """Why an alert has no incident yet, and when that is looked at again."""
    found = Refused.objects.filter(alert=alert)
    return desk.table(
        "No incident so far",
        ["Because", "Looked at again"],
        ([refused.reason, desk.since(refused.due_at)] for refused in found),
    )


@admin.register(UpdateTemplate)
class UpdateTemplateAdmin(desk.Desk):
    list_display = ["name", "state"]
    search_fields = ["name", "body"]
    lede = "Words for updates that are kept ready."
    consequence = "What was written with it stays."


desk.name_topic("incident", Incident)
desk.add_panel(Alert, refusal_of_alert)
desk.add_panel(Monitor, incidents_of_monitor)
