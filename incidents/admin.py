from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.safestring import SafeString

from access import desk
from alerting.models import Alert
from monitors.admin import MonitorInline
from monitors.models import Monitor

from . import (
    automation_admin,  # noqa: F401  registers its own page
    maintenance_admin,  # noqa: F401  the same
    merging_admin,  # noqa: F401  adds its own pages
)
from .forms import OpenForm
from .list_filters import (
    DeletedFilter,
    InUse,
    OpenFilter,
    SeverityFilter,
    VisibilityFilter,
)
from .listing import IncidentList, affected
from .models import (
    Impact,
    Incident,
    IncidentUpdate,
    UpdateTemplate,
)
from .panels import incidents_of_monitor, refusal_of_alert, severity_of, state_of
from .workspace import ACCEPTED, Workspace


class ImpactInline(MonitorInline):
    model = Impact
    fields = ["monitor", "level"]
    extra = 1
    verbose_name = "affected monitor"


@admin.register(Incident)
class IncidentAdmin(Workspace):
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
        return state_of(incident)

    @admin.display(description="Opened by", ordering="badge")
    def opened_by(self, incident: Incident) -> str:
        return incident.badge or incident.get_source_display()

    @admin.display(description="Severity", ordering="severity")
    def shown_severity(self, incident: Incident) -> str:
        return severity_of(incident)

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

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        form.user = desk.operator(request)
        return form

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
        self.message_user(request, said_of(opened), extra_tags=ACCEPTED)
        return HttpResponseRedirect(desk.address(obj))

    def delete_model(self, request: HttpRequest, obj: Incident) -> None:
        obj.delete_by_hand(at=timezone.now(), author=desk.operator(request))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> None:
        for incident in queryset:
            self.delete_model(request, incident)

    # A draft


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


@admin.register(UpdateTemplate)
class UpdateTemplateAdmin(desk.Desk):
    list_display = ["name", "state"]
    search_fields = ["name", "body"]
    lede = "Words for updates that are kept ready."
    consequence = "What was written with it stays."


desk.name_topic("incident", Incident)
desk.add_panel(Alert, refusal_of_alert)
desk.add_panel(Monitor, incidents_of_monitor)
